package metadataclient

import (
	"fmt"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

func topicOf(s *metadatav1.TopicState) (*Topic, error) {
	id, err := topicid.FromBytes(s.GetTopicId())
	if err != nil {
		return nil, fmt.Errorf("topic %q: %w", s.GetName(), err)
	}
	t := &Topic{
		ID: id, Name: s.GetName(), Configs: s.GetConfigs(), CreateTimeMs: s.GetCreateTimeMs(), Version: s.GetVersion(),
		Partitions: make([]Partition, len(s.GetPartitions())),
	}
	for i, p := range s.GetPartitions() {
		t.Partitions[i] = partitionOf(p)
	}
	return t, nil
}

func partitionOf(p *metadatav1.PartitionState) Partition {
	return Partition{
		Leader: p.GetLeader(), LeaderEpoch: p.GetLeaderEpoch(), PartitionEpoch: p.GetPartitionEpoch(),
		Replicas: p.GetReplicas(), ISR: p.GetIsr(), ELR: p.GetElr(), LastKnownELR: p.GetLastKnownElr(),
		MinISR: p.GetMinInsyncReplicas(), Adding: p.GetAdding(), Removing: p.GetRemoving(), Recovering: p.GetRecovering(),
	}
}

func nodeOf(n *metadatav1.NodeState) (int32, *Node) {
	return n.GetNodeId(), &Node{
		ID: n.GetNodeId(), Epoch: n.GetNodeEpoch(), Address: n.GetAddress(), Rack: n.GetRack(),
		Fenced: n.GetFenced(), Draining: n.GetDraining(), Evacuating: n.GetEvacuating(),
	}
}

func gatewayOf(g *metadatav1.GatewayState) (int32, *Gateway) {
	return g.GetBrokerId(), &Gateway{
		BrokerID: g.GetBrokerId(), Epoch: g.GetEpoch(), KafkaAddress: g.GetKafkaAddress(), GRPCAddress: g.GetGrpcAddress(),
		Rack: g.GetRack(), LocalNodes: g.GetLocalNodes(), Fenced: g.GetFenced(),
	}
}

func coordinatorOf(c *metadatav1.CoordinatorState) (int32, *Coordinator) {
	return c.GetCoordinatorId(), &Coordinator{
		ID: c.GetCoordinatorId(), Incarnation: c.GetIncarnation(), Address: c.GetAddress(), Fenced: c.GetFenced(),
	}
}

func shardsOf(shards []*metadatav1.ShardState) []Shard {
	out := make([]Shard, len(shards))
	for i, s := range shards {
		out[i] = Shard{Owner: s.GetOwner(), Epoch: s.GetEpoch()}
	}
	return out
}

func settingsOf(s *metadatav1.ClusterSettings) *Settings {
	out := &Settings{Configs: s.GetConfigs(), Features: s.GetFeatures(), Brokers: map[int32]map[string]string{}}
	for _, b := range s.GetBrokerConfigs() {
		out.Brokers[b.GetBrokerId()] = b.GetConfigs()
	}
	return out
}
