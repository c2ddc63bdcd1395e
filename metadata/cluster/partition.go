package cluster

import (
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// goal is what a change wants of a partition. The zero goal only brings it in
// line with which nodes live.
type goal struct {
	// isr, where set, replaces the in-sync replicas.
	isr []int32
	// move, where set, replaces the assignment.
	move *assignment
	// lost replicas may lack what was committed: they are neither in sync nor
	// eligible any more (N3, N6).
	lost []int32
	// anew begins a leader epoch though the leader may stay: what a replica said of
	// its log in the one before counts no more (R8).
	anew bool
	// minISR, where above 0, is the new min.insync.replicas.
	minISR int32
	// prefer elects the preferred leader if it is in sync.
	prefer bool
	// recovered ends the recovery after an election with loss.
	recovered bool
}

// assignment is where a partition is and where it goes (R17). Replicas are the
// target, preferred leader first, and then those that remove names; a replica
// that is both added and removed was added by a move that another replaced.
type assignment struct{ replicas, adding, removing []int32 }

// settle returns what a partition becomes, by R10 and R17: the very same where
// nothing changes. configs are the overrides of its topic.
//
// What holds afterwards (invariants 10 and 11): the in-sync replicas are live
// replicas; the leader is one of them; none leads exactly where there are none
// and nobody eligible lives; eligible replicas are not in sync, and there are
// none where at least min.insync.replicas are.
func (s *State) settle(old *metadatav1.PartitionState, configs map[string]string, g goal) *metadatav1.PartitionState {
	if g.empty() && s.settled(old) {
		return old // nearly always, so without an allocation
	}
	p := copyPartition(old)
	if g.move != nil {
		p.Replicas, p.Adding, p.Removing = g.move.replicas, g.move.adding, g.move.removing
	}
	if g.isr != nil {
		p.Isr = g.isr
	}
	p.Isr = s.inSync(p, g.lost)
	least := s.configuredMin(configs)
	finishMove(p, least)
	keepEligible(p, old, g.lost)
	if g.minISR > 0 && g.minISR != minISR(p) {
		p.MinInsyncReplicas = g.minISR
		// While nobody leads, nothing is committed that eligible ones may lack.
		if len(p.Isr) > 0 {
			p.Elr = nil
		}
	}
	s.lead(p, g.prefer)
	finishMove(p, least) // an eligible replica that leads now is in sync
	if len(p.Isr) >= int(minISR(p)) {
		p.Elr, p.LastKnownElr = nil, nil
	}
	if g.recovered {
		p.Recovering = false
	}
	return numbered(old, p, g.anew)
}

func (g goal) empty() bool {
	return g.isr == nil && g.move == nil && g.lost == nil && g.minISR == 0 && !g.prefer && !g.recovered && !g.anew
}

// settled tells whether settle would change nothing. It may say no in vain.
func (s *State) settled(p *metadatav1.PartitionState) bool {
	if len(p.Adding)+len(p.Removing) > 0 || len(p.Isr) > 0 && !slices.Contains(p.Isr, p.Leader) {
		return false
	}
	for _, node := range p.Isr {
		if !s.Live(node) {
			return false
		}
	}
	return len(p.Isr) > 0 || p.Leader == NoLeader && !slices.ContainsFunc(p.Elr, s.Live)
}

// inSync returns the in-sync replicas that may be, in the order of replicas.
func (s *State) inSync(p *metadatav1.PartitionState, lost []int32) []int32 {
	var isr []int32
	for _, node := range p.Replicas {
		if slices.Contains(p.Isr, node) && s.Live(node) && !slices.Contains(lost, node) {
			isr = append(isr, node)
		}
	}
	return isr
}

// finishMove ends a move once all replicas of the target are in sync (R17).
func finishMove(p *metadatav1.PartitionState, configured int32) {
	if len(p.Adding)+len(p.Removing) == 0 {
		return
	}
	target := without(p.Replicas, p.Removing)
	if len(target) == 0 || len(without(target, p.Isr)) > 0 {
		return
	}
	p.Replicas, p.Isr = target, target
	p.Adding, p.Removing = nil, nil
	p.MinInsyncReplicas = effectiveMin(p, configured)
}

// keepEligible notes which replicas out of sync have all that was committed.
func keepEligible(p, old *metadatav1.PartitionState, lost []int32) {
	if len(p.Isr) >= int(minISR(p)) {
		p.Elr, p.LastKnownElr = nil, nil
		return
	}
	had := func(node int32) bool { return slices.Contains(old.Elr, node) || slices.Contains(old.Isr, node) }
	knew := p.LastKnownElr
	p.Elr, p.LastKnownElr = nil, nil
	for _, node := range p.Replicas {
		switch {
		case slices.Contains(p.Isr, node):
		case had(node) && !slices.Contains(lost, node):
			p.Elr = append(p.Elr, node)
		case had(node) || slices.Contains(knew, node):
			p.LastKnownElr = append(p.LastKnownElr, node)
		}
	}
}

// lead elects: the preferred leader if asked for, else the present one, else
// the first replica in sync, else the first eligible one that lives.
func (s *State) lead(p *metadatav1.PartitionState, prefer bool) {
	switch {
	case prefer && slices.Contains(p.Isr, p.Replicas[0]):
		p.Leader = p.Replicas[0]
	case slices.Contains(p.Isr, p.Leader):
	case len(p.Isr) > 0:
		p.Leader = p.Isr[0]
	default:
		p.Leader = NoLeader
		if i := slices.IndexFunc(p.Elr, s.Live); i >= 0 {
			p.Leader = p.Elr[i]
			p.Isr, p.Elr = []int32{p.Leader}, without(p.Elr, []int32{p.Leader})
		}
	}
}

// numbered gives a changed partition its epochs: a leader epoch for each change
// of leader and for replicas that left, a partition epoch for each change (R10).
// anew asks for a leader epoch whatever changes.
func numbered(old, p *metadatav1.PartitionState, anew bool) *metadatav1.PartitionState {
	if same(old, p) && !anew {
		return old
	}
	if anew || p.Leader != old.Leader || len(without(old.Replicas, p.Replicas)) > 0 {
		p.LeaderEpoch++
	}
	p.PartitionEpoch++
	return p
}

func same(a, b *metadatav1.PartitionState) bool {
	return a.Leader == b.Leader && a.MinInsyncReplicas == b.MinInsyncReplicas && a.Recovering == b.Recovering &&
		slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Isr, b.Isr) && slices.Equal(a.Elr, b.Elr) &&
		slices.Equal(a.LastKnownElr, b.LastKnownElr) && slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

// minISR is a partition's min.insync.replicas. Partitions of the time of single
// replicas do not say.
func minISR(p *metadatav1.PartitionState) int32 { return max(p.MinInsyncReplicas, 1) }

// effectiveMin bounds what is configured by the replicas that a partition has
// without those that a move is still adding.
func effectiveMin(p *metadatav1.PartitionState, configured int32) int32 {
	return max(min(configured, int32(len(p.Replicas)-len(p.Adding))), 1)
}

func copyPartition(p *metadatav1.PartitionState) *metadatav1.PartitionState {
	return &metadatav1.PartitionState{
		Replicas: p.Replicas, Isr: p.Isr, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
		Elr: p.Elr, LastKnownElr: p.LastKnownElr, MinInsyncReplicas: p.MinInsyncReplicas,
		Adding: p.Adding, Removing: p.Removing, Recovering: p.Recovering,
	}
}

// without returns list less what is in less, in the same order.
func without(list, less []int32) []int32 {
	var left []int32
	for _, n := range list {
		if !slices.Contains(less, n) {
			left = append(left, n)
		}
	}
	return left
}
