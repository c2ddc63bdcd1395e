package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// CreateTopic brings a topic into being. Each partition's first live replica
// leads it.
type CreateTopic struct {
	Name         string
	ID           topicid.ID // new: neither of a topic nor of a tombstone
	Assignment   [][]int32  // replicas of each partition, preferred leader first
	Configs      map[string]string
	CreateTimeMs int64
}

// CheckCreate tells whether a topic of that name, size and configuration could
// be created, before anyone computes an assignment.
func (s *State) CheckCreate(name string, partitions, replicationFactor int32, configs map[string]string) error {
	if err := topicconfig.ValidateName(name); err != nil {
		return err
	}
	if s.Topics[name] != nil {
		return errcode.New(errcode.TopicAlreadyExists, "topic %q already exists", name).WithField("name")
	}
	if other, taken := s.collisions[topicconfig.CollisionKey(name)]; taken {
		return errcode.New(errcode.InvalidTopicName, "topic %q collides with %q: a dot and an underscore look alike in metrics", name, other).
			WithField("name").WithHint("Choose a name that differs in more than dots and underscores.")
	}
	if partitions < 1 || partitions > MaxPartitions {
		return errcode.New(errcode.InvalidPartitions, "%d partitions are not within 1 to %d", partitions, MaxPartitions).WithField("partition_count")
	}
	if replicationFactor < 1 {
		return errcode.New(errcode.InvalidReplicationFactor, "a replication factor of %d is below 1", replicationFactor).WithField("replication_factor")
	}
	return s.checkConfigs(name, configs)
}

func (c CreateTopic) apply(s *State, d *Delta) error {
	factor := 1
	if len(c.Assignment) > 0 && len(c.Assignment[0]) > 0 {
		factor = len(c.Assignment[0])
	}
	if err := s.CheckCreate(c.Name, int32(min(len(c.Assignment), MaxPartitions+1)), int32(factor), c.Configs); err != nil {
		return err
	}
	if c.ID.IsZero() || s.names[c.ID] != "" || s.Tombstones[c.ID] != nil {
		return errcode.New(errcode.InvalidArgument, "topic id %s was used before", c.ID)
	}
	partitions, err := s.newPartitions(c.Assignment, 0, factor, c.Configs)
	if err != nil {
		return err
	}
	s.putTopic(d, &metadatav1.TopicState{
		Name: c.Name, TopicId: c.ID[:], Configs: maps.Clone(c.Configs),
		Partitions: partitions, CreateTimeMs: c.CreateTimeMs, Version: 1,
	})
	s.collisions, s.names = maps.Clone(s.collisions), maps.Clone(s.names)
	s.collisions[topicconfig.CollisionKey(c.Name)], s.names[c.ID] = c.Name, c.Name
	return nil
}

// newPartitions makes partitions of first and up; all have factor replicas.
func (s *State) newPartitions(assignment [][]int32, first, factor int, configs map[string]string) ([]*metadatav1.PartitionState, error) {
	least := s.configuredMin(configs)
	partitions := make([]*metadatav1.PartitionState, len(assignment))
	for i, replicas := range assignment {
		if err := s.checkReplicas(first+i, replicas); err != nil {
			return nil, err
		}
		if len(replicas) != factor {
			return nil, errcode.New(errcode.InvalidReplicaAssignment, "partition %d has %d replicas, and those before it %d", first+i, len(replicas), factor)
		}
		p := &metadatav1.PartitionState{Replicas: slices.Clone(replicas), Isr: replicas, Leader: NoLeader}
		p.Isr = s.inSync(p, nil)
		if len(p.Isr) == 0 {
			return nil, errcode.New(errcode.InvalidReplicaAssignment, "no replica of partition %d is on a live node", first+i)
		}
		p.MinInsyncReplicas, p.Leader = effectiveMin(p, least), p.Isr[0]
		partitions[i] = p
	}
	return partitions, nil
}

// checkReplicas checks one assignment as Kafka does.
func (s *State) checkReplicas(partition int, replicas []int32) error {
	if len(replicas) == 0 {
		return errcode.New(errcode.InvalidReplicaAssignment, "partition %d is assigned to no node", partition)
	}
	for i, node := range replicas {
		if s.Nodes[node] == nil {
			return errcode.New(errcode.InvalidReplicaAssignment, "partition %d is assigned to node %d, which is not registered", partition, node)
		}
		if slices.Contains(replicas[:i], node) {
			return errcode.New(errcode.InvalidReplicaAssignment, "partition %d is assigned to node %d twice", partition, node)
		}
	}
	return nil
}

// ReplicationFactor is how many replicas new partitions of a topic get: as many
// as its first has.
func ReplicationFactor(t *metadatav1.TopicState) int { return len(homes(t.Partitions[0])) }

// AddPartitions appends partitions to a topic.
type AddPartitions struct {
	Name       string
	Assignment [][]int32 // of the new partitions only
}

// CheckAdd tells whether a topic could grow to count partitions, and returns it.
func (s *State) CheckAdd(name string, count int32) (*metadatav1.TopicState, error) {
	t, err := s.topic(name)
	if err != nil {
		return nil, err
	}
	if have := len(t.Partitions); int(count) <= have {
		return nil, errcode.New(errcode.InvalidPartitions, "topic %q has %d partitions; %d is not more", name, have, count).WithField("partition_count")
	}
	if topicconfig.IsInternal(name) {
		return nil, errcode.New(errcode.PolicyViolation, "topic %q has a partition for each shard of the coordinators, for ever", name).WithField("partition_count")
	}
	if count > MaxPartitions {
		return nil, errcode.New(errcode.InvalidPartitions, "%d partitions are more than %d", count, MaxPartitions).WithField("partition_count")
	}
	return t, nil
}

func (c AddPartitions) apply(s *State, d *Delta) error {
	have := 0
	if t := s.Topics[c.Name]; t != nil {
		have = len(t.Partitions)
	}
	t, err := s.CheckAdd(c.Name, int32(min(have+len(c.Assignment), MaxPartitions+1)))
	if err != nil {
		return err
	}
	added, err := s.newPartitions(c.Assignment, have, ReplicationFactor(t), t.Configs)
	if err != nil {
		return err
	}
	next := copyTopic(t)
	next.Partitions = slices.Concat(t.Partitions, added)
	next.Version++
	s.putTopic(d, next)
	return nil
}

// DeleteTopic removes a topic and leaves a tombstone.
type DeleteTopic struct {
	Name string
	ID   topicid.ID // only this incarnation; zero is any
}

func (c DeleteTopic) apply(s *State, d *Delta) error {
	t, err := s.topic(c.Name)
	if err != nil {
		return err
	}
	id := topicid.ID(t.TopicId)
	if !c.ID.IsZero() && c.ID != id {
		return errcode.New(errcode.InconsistentTopic, "topic %q has id %s, not %s", c.Name, id, c.ID).WithField("topic_id")
	}
	if topicconfig.IsInternal(c.Name) {
		return errcode.New(errcode.PolicyViolation, "topic %q is the memory of the coordinators: it cannot be deleted", c.Name).WithField("name")
	}
	s.Topics, s.names = maps.Clone(s.Topics), maps.Clone(s.names)
	delete(s.Topics, c.Name)
	delete(s.names, id)
	s.Tombstones = maps.Clone(s.Tombstones)
	s.Tombstones[id] = &metadatav1.Tombstone{TopicId: t.TopicId, Name: c.Name}
	s.collisions = maps.Clone(s.collisions)
	delete(s.collisions, topicconfig.CollisionKey(c.Name))
	d.Deleted = append(d.Deleted, id)
	return nil
}

func (s *State) topic(name string) (*metadatav1.TopicState, error) {
	if t := s.Topics[name]; t != nil {
		return t, nil
	}
	return nil, errcode.New(errcode.UnknownTopic, "topic %q does not exist", name).WithField("name")
}

// copyTopic returns a shallow copy that shares partitions and configs.
func copyTopic(t *metadatav1.TopicState) *metadatav1.TopicState {
	return &metadatav1.TopicState{
		Name: t.Name, TopicId: t.TopicId, Configs: t.Configs, Partitions: t.Partitions,
		CreateTimeMs: t.CreateTimeMs, Version: t.Version,
	}
}
