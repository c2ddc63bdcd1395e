package cluster

import (
	"cmp"
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// maxLeaderMoves bounds the leaders that change at once.
const maxLeaderMoves = 500

// BalanceLeaders returns the change that makes preferred leaders lead again,
// or nil where the cluster's settings say that none shall.
func (s *State) BalanceLeaders() *ElectLeaders {
	if !s.enabled(leaderRebalance) {
		return nil
	}
	return &ElectLeaders{Most: maxLeaderMoves}
}

// BalanceReplicas plans as PlanBalance does where the cluster's settings allow
// it, and only while all nodes are in service: one that is away comes back.
func (s *State) BalanceReplicas(most int) []*metadatav1.Reassignment {
	if !s.enabled(replicaRebalance) {
		return nil
	}
	for id := range s.Nodes {
		if !s.Live(id) {
			return nil
		}
	}
	return s.PlanBalance(most)
}

// PlanBalance returns moves that even out how many replicas, and of how many
// partitions the preferred leader, each node in service has, until none is
// further than a tenth from the mean; so that at most most partitions move at
// once. A partition moves only while all its replicas are in sync, and never to
// fewer racks. The same state gives the same plan.
func (s *State) PlanBalance(most int) []*metadatav1.Reassignment {
	b := &balancer{placer: s.placer(), targets: map[slot][]int32{}, owns: map[string]load{}}
	for name, t := range s.Topics {
		own := newLoad()
		own.addTopic(t)
		b.owns[name] = own
	}
	b.names = slices.Sorted(maps.Keys(s.Topics))
	for budget := most - s.Moving(); len(b.targets) < budget && b.moveReplica(); {
	}
	for len(b.targets) < most && b.moveLeader() {
	}
	return b.plan()
}

// balancer makes moves on paper, one after another.
type balancer struct {
	*placer
	names   []string
	owns    map[string]load // by topic
	targets map[slot][]int32
}

// moveReplica moves one replica from a node with many to one with few.
func (b *balancer) moveReplica() bool {
	return b.apart(b.all.replicas, func(from, to int32) bool {
		best, found := b.best(func(at slot, now []int32) (int, bool) {
			i := slices.Index(now, from)
			if i < 0 || slices.Contains(now, to) || b.s.neighbours(now, to)-sameRack(b.s, from, to) > b.s.neighbours(now, from) {
				return 0, false
			}
			own := b.owns[at.topic]
			score := 2 * (own.replicas[from] - own.replicas[to])
			if (i == 0) == (b.all.leaders[from] > b.all.leaders[to]) {
				score++
			}
			return score, true
		})
		if found {
			b.retarget(best, exchange(b.now(best), from, to))
		}
		return found
	})
}

// moveLeader makes one node the preferred leader in place of another that is it
// more often.
func (b *balancer) moveLeader() bool {
	return b.apart(b.all.leaders, func(from, to int32) bool {
		best, found := b.best(func(at slot, now []int32) (int, bool) {
			if now[0] != from || !slices.Contains(now, to) {
				return 0, false
			}
			own := b.owns[at.topic]
			return own.leaders[from] - own.leaders[to], true
		})
		if found {
			b.retarget(best, exchange(b.now(best), from, to))
		}
		return found
	})
}

// apart tries f for pairs of nodes of which one has at least two more, and which
// holds most or least of all, the furthest apart first, if any node is far from
// the mean.
func (b *balancer) apart(count map[int32]int, f func(from, to int32) bool) bool {
	nodes := slices.SortedFunc(slices.Values(b.live), func(x, y int32) int {
		return cmp.Or(cmp.Compare(count[y], count[x]), cmp.Compare(x, y))
	})
	sum := 0
	for _, n := range nodes {
		sum += count[n]
	}
	if n := len(nodes); n < 2 || 10*n*count[nodes[0]] <= 11*sum+9*n && 10*n*count[nodes[n-1]] >= 9*sum-9*n {
		return false
	}
	most, least := nodes[0], nodes[len(nodes)-1]
	for _, to := range slices.Backward(nodes) {
		if count[most]-count[to] >= 2 && f(most, to) {
			return true
		}
	}
	for _, from := range nodes[1:] {
		if count[from]-count[least] >= 2 && f(from, least) {
			return true
		}
	}
	return false
}

// best returns the partition with the highest score of those that may move.
func (b *balancer) best(score func(at slot, now []int32) (int, bool)) (best slot, found bool) {
	highest := 0
	for _, name := range b.names {
		for i, p := range b.s.Topics[name].Partitions {
			at := slot{name, i}
			if moving(p) || len(p.Isr) < len(p.Replicas) {
				continue
			}
			if n, ok := score(at, b.now(at)); ok && (!found || n > highest) {
				best, found, highest = at, true, n
			}
		}
	}
	return best, found
}

func (b *balancer) now(at slot) []int32 {
	if target := b.targets[at]; target != nil {
		return target
	}
	return b.s.Topics[at.topic].Partitions[at.index].Replicas
}

func (b *balancer) retarget(at slot, target []int32) {
	for _, l := range []load{b.all, b.owns[at.topic]} {
		l.add(b.now(at), -1)
		l.add(target, 1)
	}
	b.targets[at] = target
}

func (b *balancer) plan() []*metadatav1.Reassignment {
	var plan []*metadatav1.Reassignment
	for _, name := range b.names {
		t := b.s.Topics[name]
		for i, p := range t.Partitions {
			if target := b.targets[slot{name, i}]; target != nil && !slices.Equal(target, p.Replicas) {
				plan = append(plan, &metadatav1.Reassignment{TopicId: t.TopicId, Partition: int32(i), Replicas: target})
			}
		}
	}
	return plan
}

// exchange returns list with to in from's place, and from in to's if it was
// there.
func exchange(list []int32, from, to int32) []int32 {
	out := slices.Clone(list)
	for i, n := range list {
		switch n {
		case from:
			out[i] = to
		case to:
			out[i] = from
		}
	}
	return out
}

func sameRack(s *State, a, b int32) int {
	if s.Nodes[a].GetRack() == s.Nodes[b].GetRack() {
		return 1
	}
	return 0
}
