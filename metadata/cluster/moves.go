package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicconfig"
)

// PlanMoves returns the moves to begin now, so that at most most partitions
// move at once: off nodes that are to be evacuated, and to more replicas for
// topics of the coordinators that were created when there were too few nodes.
// The same state gives the same plan.
func (s *State) PlanMoves(most int) []*metadatav1.Reassignment {
	leaving := s.evacuating()
	if len(leaving) == 0 && !s.internalLack() {
		return nil // nearly always, so without a look at every partition
	}
	budget, p := most-s.Moving(), s.placer()
	var plan []*metadatav1.Reassignment
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		t := s.Topics[name]
		p.focus(t)
		for i, part := range t.Partitions {
			if budget <= 0 && !moving(part) {
				continue // a move that is stuck may be replaced at any time
			}
			target := p.evacuate(part, leaving)
			if target == nil && topicconfig.IsInternal(name) && !moving(part) {
				target = p.extend(part)
			}
			if target == nil {
				continue
			}
			if !moving(part) {
				budget--
			}
			p.replace(part, target)
			plan = append(plan, &metadatav1.Reassignment{TopicId: t.TopicId, Partition: int32(i), Replicas: target})
		}
	}
	return plan
}

// internalLack tells whether a partition of the coordinators' topics has fewer
// replicas than the default.
func (s *State) internalLack() bool {
	for _, name := range internalTopics {
		if t := s.Topics[name]; t != nil {
			for _, p := range t.Partitions {
				if s.lacking(p) > 0 {
					return true
				}
			}
		}
	}
	return false
}

// Moving counts the partitions that move.
func (s *State) Moving() (n int) {
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			if moving(p) {
				n++
			}
		}
	}
	return n
}

func moving(p *metadatav1.PartitionState) bool { return len(p.Adding)+len(p.Removing) > 0 }

// evacuate returns where a partition shall be instead of on nodes that replicas
// leave, or nil where it is well already, moves, or cannot.
func (p *placer) evacuate(part *metadatav1.PartitionState, leaving []int32) []int32 {
	now := homes(part)
	if moving(part) {
		if !p.stuck(part, leaving) {
			return nil
		}
		now = without(part.Replicas, part.Adding)
	}
	stay := without(now, leaving)
	if len(stay) == len(now) {
		return nil
	}
	target := slices.Clone(now)
	for i, node := range target {
		if !slices.Contains(leaving, node) {
			continue
		}
		next, found := p.substitute(stay)
		if !found {
			return nil
		}
		target[i], stay = next, append(stay, next)
	}
	return target
}

// stuck tells whether a move off a node waits for one that is out of service.
func (p *placer) stuck(part *metadatav1.PartitionState, leaving []int32) bool {
	if !slices.ContainsFunc(leaving, func(n int32) bool { return slices.Contains(part.Removing, n) }) {
		return false
	}
	return slices.ContainsFunc(part.Adding, func(n int32) bool { return !slices.Contains(part.Removing, n) && !p.s.Live(n) })
}

// substitute chooses a node in service beside those that stay.
func (p *placer) substitute(stay []int32) (int32, bool) {
	free := without(p.live, stay)
	if len(free) == 0 {
		return NoLeader, false
	}
	chosen := stay
	if len(chosen) == 0 {
		chosen = []int32{NoLeader}
	}
	return slices.MinFunc(free, func(a, b int32) int { return p.compare(chosen, a, b) }), true
}

// extend returns more replicas for a partition that has fewer than the default,
// or nil where it has enough or no node could take one.
func (p *placer) extend(part *metadatav1.PartitionState) []int32 {
	target := homes(part)
	for range p.s.lacking(part) {
		next, found := p.substitute(target)
		if !found {
			break
		}
		target = append(slices.Clone(target), next)
	}
	if len(target) == len(homes(part)) {
		return nil
	}
	return target
}

// replace counts a partition where it goes instead of where it was to be.
func (p *placer) replace(part *metadatav1.PartitionState, target []int32) {
	p.own.add(homes(part), -1)
	p.all.add(homes(part), -1)
	p.own.add(target, 1)
	p.all.add(target, 1)
}
