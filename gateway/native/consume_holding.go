package native

import (
	"cmp"
	"slices"
	"time"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// holding is what a member of a group holds: by its coordinator's word, and what
// it still has of what the coordinator took. It is pure.
//
//	            assigned                 no longer assigned           released
//	nobody's ───────────────▶ held ───────────────────────▶ revoking ──────────▶ nobody's
//
// Invariant: what is held or revoking is nobody else's, as far as the
// coordinator has been told: a partition leaves revoking before the coordinator
// is told that it is free.
type holding struct {
	epoch    int32
	held     map[storageclient.PartitionID]bool
	revoking map[storageclient.PartitionID]bool
	deadline time.Time // of what is revoking
}

func newHolding() *holding {
	return &holding{held: map[storageclient.PartitionID]bool{}, revoking: map[storageclient.PartitionID]bool{}}
}

// assign takes in what the coordinator says that the member shall hold, and
// reports whether anything is new. What it does not name is to be given up by
// the deadline; a higher epoch says that what was to be given up is.
func (h *holding) assign(epoch int32, assigned []storageclient.PartitionID, deadline time.Time) (changed bool) {
	if epoch > h.epoch && len(h.revoking) > 0 {
		clear(h.revoking)
		changed = true
	}
	h.epoch = epoch
	named := make(map[storageclient.PartitionID]bool, len(assigned))
	for _, id := range assigned {
		named[id] = true
		if !h.held[id] {
			h.held[id], changed = true, true
			delete(h.revoking, id)
		}
	}
	for id := range h.held {
		if named[id] {
			continue
		}
		if changed = true; len(h.revoking) == 0 {
			h.deadline = deadline
		}
		delete(h.held, id)
		h.revoking[id] = true
	}
	return changed
}

// owned is what the coordinator is told.
func (h *holding) owned() *coordinatorv1.Ownership {
	byTopic := map[topicid.ID][]int32{}
	for _, set := range []map[storageclient.PartitionID]bool{h.held, h.revoking} {
		for id := range set {
			byTopic[id.Topic] = append(byTopic[id.Topic], id.Index)
		}
	}
	o := &coordinatorv1.Ownership{}
	for topic, indexes := range byTopic {
		slices.Sort(indexes)
		o.Partitions = append(o.Partitions, &coordinatorv1.TopicPartitions{TopicId: topic[:], Partitions: indexes})
	}
	slices.SortFunc(o.Partitions, func(a, b *coordinatorv1.TopicPartitions) int { return slices.Compare(a.GetTopicId(), b.GetTopicId()) })
	return o
}

// partitionsOf reads an assignment. What names no topic is left out.
func partitionsOf(o *coordinatorv1.Ownership) (ids []storageclient.PartitionID) {
	for _, p := range o.GetPartitions() {
		topic, err := topicid.FromBytes(p.GetTopicId())
		if err != nil {
			continue
		}
		for _, index := range p.GetPartitions() {
			ids = append(ids, storageclient.PartitionID{Topic: topic, Index: index})
		}
	}
	return ids
}

func inOrder(set map[storageclient.PartitionID]bool) []storageclient.PartitionID {
	ids := make([]storageclient.PartitionID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, comparePartitions)
	return ids
}

func comparePartitions(a, b storageclient.PartitionID) int {
	return cmp.Or(slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Index, b.Index))
}
