package metadataclient

import (
	"fmt"
	"maps"
	"slices"

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

// next returns the view after a frame. What the frame does not carry is shared
// with v: topics, nodes and whole maps alike.
func (v *View) next(f *metadatav1.WatchResponse) (*View, error) {
	if f.GetRevision() < v.Revision {
		return nil, fmt.Errorf("metadata went back from revision %d to %d", v.Revision, f.GetRevision())
	}
	next := *v
	if s := f.GetSnapshot(); s != nil {
		if v.ClusterID != "" && v.ClusterID != s.GetClusterId() {
			return nil, fmt.Errorf("metadata is of cluster %s, not %s", s.GetClusterId(), v.ClusterID)
		}
		next = *emptyView()
		next.ClusterID, next.Generation, next.TermID = s.GetClusterId(), s.GetGeneration(), s.GetTermId()
		f = wholeOf(f)
	} else if v.ClusterID == "" {
		return nil, fmt.Errorf("the first frame of a watch carries no snapshot")
	}
	next.Revision = f.GetRevision()
	if err := next.applyTopics(f.GetTombstones(), f.GetTopics()); err != nil {
		return nil, err
	}
	if err := next.applyPartitions(f.GetPartitions()); err != nil {
		return nil, err
	}
	if err := next.forget(f.GetForgotten()); err != nil {
		return nil, err
	}
	next.Nodes = merge(next.Nodes, f.GetRemovedNodes(), f.GetNodes(), nodeOf)
	next.Gateways = merge(next.Gateways, f.GetRemovedGateways(), f.GetGateways(), gatewayOf)
	next.Coordinators = merge(next.Coordinators, f.GetRemovedCoordinators(), f.GetCoordinators(), coordinatorOf)
	if shards := f.GetShards(); len(shards) > 0 {
		next.Shards = shardsOf(shards)
	}
	if s := f.GetSettings(); s != nil {
		next.Settings = settingsOf(s)
	}
	return &next, nil
}

// Position returns how far the view is, for those that must later show it to a
// store that may have been set back (C11); nil before the first state.
func (v *View) Position() *metadatav1.Position {
	if v.Revision == 0 {
		return nil
	}
	return &metadatav1.Position{Generation: v.Generation, Revision: v.Revision, TermId: v.TermID, ClusterId: v.ClusterID}
}

// wholeOf returns a snapshot as the change from nothing.
func wholeOf(f *metadatav1.WatchResponse) *metadatav1.WatchResponse {
	s := f.GetSnapshot()
	return &metadatav1.WatchResponse{
		Revision: f.GetRevision(), Topics: s.GetTopics(), Tombstones: f.GetTombstones(), Nodes: s.GetNodes(),
		Gateways: s.GetGateways(), Coordinators: s.GetCoordinators(), Shards: s.GetShards(),
		Settings: &metadatav1.ClusterSettings{Configs: s.GetConfigs(), BrokerConfigs: s.GetBrokerConfigs(), Features: s.GetFeatures()},
	}
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

// forget drops deleted topics of which no node holds anything any more.
func (v *View) forget(ids [][]byte) error {
	if len(ids) == 0 {
		return nil
	}
	v.Deleted = maps.Clone(v.Deleted)
	for _, b := range ids {
		id, err := topicid.FromBytes(b)
		if err != nil {
			return fmt.Errorf("tombstone that is gone: %w", err)
		}
		delete(v.Deleted, id)
	}
	return nil
}

// applyPartitions replaces single partitions of topics that this view holds.
func (v *View) applyPartitions(changes []*metadatav1.PartitionChange) error {
	if len(changes) == 0 {
		return nil
	}
	v.Topics, v.TopicsByID = maps.Clone(v.Topics), maps.Clone(v.TopicsByID)
	ours := map[topicid.ID]*Topic{} // copies, which nobody else sees yet
	for _, c := range changes {
		id, err := topicid.FromBytes(c.GetTopicId())
		if err != nil {
			return fmt.Errorf("change of a partition: %w", err)
		}
		t := ours[id]
		if old := v.TopicsByID[id]; t == nil && old != nil {
			copied := *old
			t = &copied
			t.Partitions = slices.Clone(old.Partitions)
			v.Topics[t.Name], v.TopicsByID[id], ours[id] = t, t, t
		}
		i := int(c.GetPartition())
		if t == nil || i < 0 || i >= len(t.Partitions) {
			return fmt.Errorf("change of partition %d of topic %s, which is not there", i, id)
		}
		t.Partitions[i] = partitionOf(c.GetState())
	}
	return nil
}

// merge returns a map without what was removed and with what changed; the same
// map where nothing did.
func merge[S, T any](old map[int32]*T, removed []int32, changed []S, of func(S) (int32, *T)) map[int32]*T {
	if len(removed)+len(changed) == 0 {
		return old
	}
	next := maps.Clone(old)
	for _, id := range removed {
		delete(next, id)
	}
	for _, s := range changed {
		id, t := of(s)
		next[id] = t
	}
	return next
}
