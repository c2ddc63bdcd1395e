package metadata

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// frame returns what leads from old to next: a snapshot where old is nil or of
// another term.
func frame(old, next *controller.Image) *metadatav1.WatchResponse {
	f := &metadatav1.WatchResponse{Revision: next.Revision}
	if old == nil || old.Epoch != next.Epoch {
		f.Snapshot = snapshot(next)
		f.Tombstones = tombstones(nil, next.State.Tombstones)
		return f
	}
	was, is := old.State, next.State
	f.Topics, f.Partitions = topics(was.Topics, is.Topics)
	f.Tombstones = tombstones(was.Tombstones, is.Tombstones)
	f.Forgotten = forgotten(was.Tombstones, is.Tombstones)
	for _, g := range missed(was, is) {
		f.Tombstones, f.Forgotten = append(f.Tombstones, g), append(f.Forgotten, g.TopicId)
	}
	f.Nodes, f.RemovedNodes = changed(was.Nodes, is.Nodes)
	f.Gateways, f.RemovedGateways = changed(was.Gateways, is.Gateways)
	f.Coordinators, f.RemovedCoordinators = changed(was.Coordinators, is.Coordinators)
	if !slices.Equal(was.Shards, is.Shards) {
		f.Shards = is.Shards
	}
	if was.Settings != is.Settings {
		f.Settings = is.Settings
	}
	return f
}

func snapshot(i *controller.Image) *metadatav1.ClusterState {
	s := i.State
	all := &metadatav1.ClusterState{
		ClusterId: s.ClusterID, Revision: i.Revision, ControllerEpoch: i.Epoch,
		Generation: i.Lineage.GetGeneration(), TermId: i.Position().GetTermId(), Shards: s.Shards,
		Configs: s.Settings.GetConfigs(), BrokerConfigs: s.Settings.GetBrokerConfigs(), Features: s.Settings.GetFeatures(),
	}
	all.Topics, _ = topics(nil, s.Topics)
	all.Nodes, _ = changed(nil, s.Nodes)
	all.Gateways, _ = changed(nil, s.Gateways)
	all.Coordinators, _ = changed(nil, s.Coordinators)
	return all
}

// topics returns the topics of next that are new or that people changed, whole,
// and the single partitions that changed of others.
func topics(old, next map[string]*metadatav1.TopicState) (whole []*metadatav1.TopicState, single []*metadatav1.PartitionChange) {
	var moved []*metadatav1.TopicState
	for name, t := range next {
		switch was := old[name]; {
		case was == t:
		case was != nil && was.Version == t.Version && bytes.Equal(was.TopicId, t.TopicId):
			moved = append(moved, t)
		default:
			whole = append(whole, t)
		}
	}
	byName := func(a, b *metadatav1.TopicState) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(whole, byName)
	slices.SortFunc(moved, byName)
	for _, t := range moved {
		for i, p := range t.Partitions {
			if p != old[t.Name].Partitions[i] {
				single = append(single, &metadatav1.PartitionChange{TopicId: t.TopicId, Partition: int32(i), State: p})
			}
		}
	}
	return whole, single
}

// changed returns what is new or not the very same in next, and what is gone,
// by id.
func changed[T comparable](old, next map[int32]T) (now []T, gone []int32) {
	for _, id := range slices.Sorted(maps.Keys(next)) {
		if was, there := old[id]; !there || was != next[id] {
			now = append(now, next[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if _, there := next[id]; !there {
			gone = append(gone, id)
		}
	}
	return now, gone
}

type graves = map[topicid.ID]*metadatav1.Tombstone

func tombstones(old, next graves) (out []*metadatav1.Tombstone) {
	for id, g := range next {
		if old[id] != g {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *metadatav1.Tombstone) int { return bytes.Compare(a.TopicId, b.TopicId) })
	return out
}

// missed returns the topics that were deleted and forgotten between two states,
// so that a slow watcher hears of their end at all.
func missed(was, is *cluster.State) (out []*metadatav1.Tombstone) {
	for name, t := range was.Topics {
		if id := topicid.ID(t.TopicId); is.TopicByID(id) == nil && is.Tombstones[id] == nil {
			out = append(out, &metadatav1.Tombstone{TopicId: t.TopicId, Name: name})
		}
	}
	slices.SortFunc(out, func(a, b *metadatav1.Tombstone) int { return bytes.Compare(a.TopicId, b.TopicId) })
	return out
}

func forgotten(old, next graves) (out [][]byte) {
	for id := range old {
		if next[id] == nil {
			out = append(out, bytes.Clone(id[:]))
		}
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}
