package cluster

import (
	"cmp"
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// Place chooses the nodes of count new partitions of a topic, nil for a new
// one, of factor replicas each: as many racks as there are for each partition,
// leaders and replicas evenly over nodes, within the topic first and over the
// cluster next, and followers of one node's partitions on many others, so that
// its death loads them all alike. Nodes that are fenced hold replicas only
// where those in service are too few, and lead nothing. The same state gives
// the same answer.
func (s *State) Place(topic *metadatav1.TopicState, count, factor int) ([][]int32, error) {
	p := s.placer()
	p.focus(topic)
	if len(p.live) == 0 {
		return nil, errcode.New(errcode.InvalidReplicationFactor, "no storage node is in service to hold a replica").
			WithField("replication_factor").WithHint("Start a storage node, or wait until one has recovered.")
	}
	if all := len(p.live) + len(p.rest); factor > all {
		return nil, errcode.New(errcode.InvalidReplicationFactor, "a replication factor of %d was asked for, and %d storage nodes can hold replicas", factor, all).
			WithField("replication_factor")
	}
	assignment := make([][]int32, count)
	for i := range assignment {
		assignment[i] = p.place(factor)
	}
	return assignment, nil
}

// placer counts what nodes hold while it hands out replicas.
type placer struct {
	s          *State
	live, rest []int32 // nodes that may take replicas, by id
	all        load    // of the cluster
	own        load    // of the topic that is looked at
	pairs      map[[2]int32]int
}

// load counts by node.
type load struct{ leaders, replicas map[int32]int }

func newLoad() load { return load{leaders: map[int32]int{}, replicas: map[int32]int{}} }

func (l load) add(replicas []int32, n int) {
	l.leaders[replicas[0]] += n
	for _, node := range replicas {
		l.replicas[node] += n
	}
}

func (l load) addTopic(t *metadatav1.TopicState) {
	for _, p := range t.Partitions {
		l.add(homes(p), 1)
	}
}

func (s *State) placer() *placer {
	p := &placer{s: s, all: newLoad()}
	for _, id := range slices.Sorted(maps.Keys(s.Nodes)) {
		switch n := s.Nodes[id]; {
		case n.Evacuating:
		case s.Live(id):
			p.live = append(p.live, id)
		default:
			p.rest = append(p.rest, id)
		}
	}
	for _, t := range s.Topics {
		p.all.addTopic(t)
	}
	p.focus(nil)
	return p
}

// focus looks at a topic from here on; nil is a new one.
func (p *placer) focus(t *metadatav1.TopicState) {
	p.own, p.pairs = newLoad(), map[[2]int32]int{}
	if t != nil {
		p.own.addTopic(t)
	}
}

// place chooses the nodes of one partition and counts them.
func (p *placer) place(factor int) []int32 {
	leader := slices.MinFunc(p.live, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.own.leaders[a], p.own.leaders[b]), cmp.Compare(p.own.replicas[a], p.own.replicas[b]),
			cmp.Compare(p.all.leaders[a], p.all.leaders[b]), cmp.Compare(p.all.replicas[a], p.all.replicas[b]), cmp.Compare(a, b))
	})
	chosen := []int32{leader}
	for len(chosen) < factor {
		next, _ := p.follower(chosen)
		chosen = append(chosen, next)
	}
	p.own.add(chosen, 1)
	p.all.add(chosen, 1)
	for i, node := range chosen[1:] {
		p.pairs[[2]int32{leader, node}]++
		if i == 0 {
			p.pairs[[2]int32{leader, node}]++ // it leads next
		}
	}
	return chosen
}

// follower chooses one more node beside those chosen; false where none is left.
func (p *placer) follower(chosen []int32) (int32, bool) {
	for _, from := range [][]int32{p.live, p.rest} {
		if free := without(from, chosen); len(free) > 0 {
			return slices.MinFunc(free, func(a, b int32) int { return p.compare(chosen, a, b) }), true
		}
	}
	return NoLeader, false
}

// compare prefers a rack that is not chosen yet, then the node with less of the
// topic and of the leader's other partitions, then with less of the cluster.
func (p *placer) compare(chosen []int32, a, b int32) int {
	cost := func(node int32) int { return 2*p.own.replicas[node] + p.pairs[[2]int32{chosen[0], node}] }
	return cmp.Or(cmp.Compare(p.s.neighbours(chosen, a), p.s.neighbours(chosen, b)), cmp.Compare(cost(a), cost(b)),
		cmp.Compare(p.all.replicas[a], p.all.replicas[b]), cmp.Compare(a, b))
}

// neighbours counts the nodes of a list in the rack of node, others than node.
func (s *State) neighbours(list []int32, node int32) (n int) {
	for _, other := range list {
		if other != node && s.Nodes[other].GetRack() == s.Nodes[node].GetRack() {
			n++
		}
	}
	return n
}
