package metadataclient

import (
	"fmt"
	"maps"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

func emptyView() *View {
	return &View{
		Topics: map[string]*Topic{}, TopicsByID: map[topicid.ID]*Topic{},
		Nodes: map[int32]*Node{}, Gateways: map[int32]*Gateway{}, Coordinators: map[int32]*Coordinator{},
		Settings: &Settings{}, Deleted: map[topicid.ID]string{},
	}
}

// next returns the view after a frame. Topics and nodes that the frame does
// not carry are shared with v, as are maps that it leaves alone.
func (v *View) next(f *metadatav1.WatchResponse) (*View, error) {
	if f.GetRevision() < v.Revision {
		return nil, fmt.Errorf("metadata went back from revision %d to %d", v.Revision, f.GetRevision())
	}
	next := *v
	next.Revision = f.GetRevision()
	topics, nodes := f.GetTopics(), f.GetNodes()
	if s := f.GetSnapshot(); s != nil {
		if v.ClusterID != "" && v.ClusterID != s.GetClusterId() {
			return nil, fmt.Errorf("metadata is of cluster %s, not %s", s.GetClusterId(), v.ClusterID)
		}
		next = *emptyView()
		next.Revision, next.ClusterID = f.GetRevision(), s.GetClusterId()
		topics, nodes = s.GetTopics(), s.GetNodes()
	} else if v.ClusterID == "" {
		return nil, fmt.Errorf("the first frame of a watch carries no snapshot")
	}
	if err := next.applyTopics(f.GetTombstones(), topics); err != nil {
		return nil, err
	}
	next.applyNodes(f.GetRemovedNodes(), nodes)
	return &next, nil
}

// applyTopics buries the dead before it adds the living: a topic that was
// deleted and created again is in both lists.
func (v *View) applyTopics(tombstones []*metadatav1.Tombstone, topics []*metadatav1.TopicState) error {
	if len(tombstones)+len(topics) == 0 {
		return nil
	}
	v.Topics, v.TopicsByID = maps.Clone(v.Topics), maps.Clone(v.TopicsByID)
	if len(tombstones) > 0 {
		v.Deleted = maps.Clone(v.Deleted)
	}
	for _, g := range tombstones {
		id, err := topicid.FromBytes(g.GetTopicId())
		if err != nil {
			return fmt.Errorf("tombstone of topic %q: %w", g.GetName(), err)
		}
		v.Deleted[id] = g.GetName()
		if t := v.TopicsByID[id]; t != nil {
			delete(v.TopicsByID, id)
			delete(v.Topics, t.Name)
		}
	}
	for _, s := range topics {
		t, err := topicOf(s)
		if err != nil {
			return err
		}
		v.Topics[t.Name], v.TopicsByID[t.ID] = t, t
	}
	return nil
}

func (v *View) applyNodes(removed []int32, nodes []*metadatav1.NodeState) {
	if len(removed)+len(nodes) == 0 {
		return
	}
	v.Nodes = maps.Clone(v.Nodes)
	for _, id := range removed {
		delete(v.Nodes, id)
	}
	for _, n := range nodes {
		v.Nodes[n.GetNodeId()] = &Node{
			ID: n.GetNodeId(), Epoch: n.GetNodeEpoch(), Address: n.GetAddress(), Rack: n.GetRack(),
			Fenced: n.GetFenced(), Draining: n.GetDraining(), Evacuating: n.GetEvacuating(),
		}
	}
}

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
		t.Partitions[i] = Partition{
			Leader: p.GetLeader(), LeaderEpoch: p.GetLeaderEpoch(), PartitionEpoch: p.GetPartitionEpoch(),
			Replicas: p.GetReplicas(), ISR: p.GetIsr(), ELR: p.GetElr(), LastKnownELR: p.GetLastKnownElr(),
			MinISR: p.GetMinInsyncReplicas(), Adding: p.GetAdding(), Removing: p.GetRemoving(), Recovering: p.GetRecovering(),
		}
	}
	return t, nil
}
