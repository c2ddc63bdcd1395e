package cluster

import (
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// The topics of the coordinators. Partition i of each belongs to shard i.
var internalTopics = []string{"__consumer_offsets", "__transaction_state"}

// internalConfigs are Kafka's, but for the durability, which is ours (R15).
func internalConfigs() map[string]string {
	return map[string]string{
		"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600",
		"max.message.bytes": "8388608", // what one step of a large group writes goes in one batch
		minInsyncReplicas:   "2", "moldau.durability": "durable",
	}
}

// CreateInternalTopics creates those topics of the coordinators that are not
// there yet, once there are shards and a node to hold them. They get fewer
// replicas than the default where there are fewer nodes; PlanMoves adds the
// rest when nodes come.
type CreateInternalTopics struct {
	IDs          [2]topicid.ID // new
	CreateTimeMs int64
}

func (c CreateInternalTopics) apply(s *State, d *Delta) error {
	for i, name := range internalTopics {
		if s.Topics[name] != nil || !s.NeedsInternalTopics() {
			continue
		}
		factor := max(min(int(s.NewTopicReplicas()), len(s.placer().live)), 1)
		assignment, err := s.Place(nil, len(s.Shards), factor)
		if err != nil {
			return err
		}
		create := CreateTopic{Name: name, ID: c.IDs[i], Assignment: assignment, Configs: internalConfigs(), CreateTimeMs: c.CreateTimeMs}
		if err := create.apply(s, d); err != nil {
			return err
		}
	}
	return nil
}

// NeedsInternalTopics tells whether CreateInternalTopics would create any.
func (s *State) NeedsInternalTopics() bool {
	if len(s.Shards) == 0 {
		return false
	}
	missing := false
	for _, name := range internalTopics {
		missing = missing || s.Topics[name] == nil
	}
	if !missing {
		return false
	}
	for id, n := range s.Nodes {
		if s.Live(id) && !n.Evacuating {
			return true
		}
	}
	return false
}

// lacking counts the replicas that a topic of the coordinators lacks.
func (s *State) lacking(p *metadatav1.PartitionState) int {
	return int(s.NewTopicReplicas()) - len(homes(p))
}
