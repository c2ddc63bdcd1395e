package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// ElectLeaders brings every partition in line with which nodes live. Fencing
// and its like do so themselves; a new controller does it for a change that
// its predecessor left half written.
type ElectLeaders struct{}

func (ElectLeaders) apply(s *State, d *Delta) error {
	s.electAll(d)
	return nil
}

func (s *State) electAll(d *Delta) {
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		t := s.Topics[name]
		if partitions := s.electTopic(t.Partitions); partitions != nil {
			next := copyTopic(t)
			next.Partitions = partitions
			s.putTopic(d, next)
		}
	}
}

// electTopic returns the partitions after elections, or nil if none changed.
func (s *State) electTopic(old []*metadatav1.PartitionState) []*metadatav1.PartitionState {
	var changed []*metadatav1.PartitionState
	for i, p := range old {
		next := s.electPartition(p)
		if next == p {
			continue
		}
		if changed == nil {
			changed = slices.Clone(old)
		}
		changed[i] = next
	}
	return changed
}

// electPartition applies R10, without the eligible leader replicas that this
// version does not keep: the last member of an ISR stays in it, dead or alive,
// because only it may lead again.
func (s *State) electPartition(p *metadatav1.PartitionState) *metadatav1.PartitionState {
	isr := p.Isr
	if s.Live(p.Leader) && slices.Contains(isr, p.Leader) && !slices.ContainsFunc(isr, func(n int32) bool { return !s.Live(n) }) {
		return p // nearly always, so without an allocation
	}
	if slices.ContainsFunc(isr, func(n int32) bool { return !s.Live(n) }) && slices.ContainsFunc(isr, s.Live) {
		isr = slices.DeleteFunc(slices.Clone(isr), func(n int32) bool { return !s.Live(n) })
	} else if len(isr) > 1 && !slices.ContainsFunc(isr, s.Live) {
		isr = slices.Clone(isr[:1])
		if slices.Contains(p.Isr, p.Leader) {
			isr[0] = p.Leader
		}
	}
	next := &metadatav1.PartitionState{
		Replicas: p.Replicas, Isr: isr, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
	}
	next.Leader = s.elect(next)
	if next.Leader != p.Leader {
		next.LeaderEpoch++
	} else if slices.Equal(isr, p.Isr) {
		return p
	}
	next.PartitionEpoch++
	return next
}

// elect keeps a live leader; else the first live replica in sync, else none.
func (s *State) elect(p *metadatav1.PartitionState) int32 {
	if s.Live(p.Leader) && slices.Contains(p.Isr, p.Leader) {
		return p.Leader
	}
	for _, node := range p.Replicas {
		if slices.Contains(p.Isr, node) && s.Live(node) {
			return node
		}
	}
	return NoLeader
}
