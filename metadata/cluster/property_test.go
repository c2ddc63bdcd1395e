package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// generator draws changes of every kind, legal or not.
type generator struct {
	t   *rapid.T
	s   *State
	ids byte
}

var someNodes = rapid.Int32Range(0, 4)

func (g *generator) node() int32 { return someNodes.Draw(g.t, "node") }

func (g *generator) nodes() []int32 {
	return rapid.SliceOfN(someNodes, 1, 4).Draw(g.t, "nodes")
}

// partition draws one that exists, if there is any.
func (g *generator) partition() (*metadatav1.TopicState, int32) {
	if len(g.s.Topics) == 0 {
		return &metadatav1.TopicState{TopicId: make([]byte, 16), Partitions: []*metadatav1.PartitionState{{Replicas: []int32{0}}}}, 0
	}
	t := g.s.Topics[rapid.SampledFrom(slices.Sorted(maps.Keys(g.s.Topics))).Draw(g.t, "topic")]
	return t, rapid.Int32Range(0, int32(len(t.Partitions)-1)).Draw(g.t, "partition")
}

func (g *generator) change() Change {
	g.ids++
	name := rapid.SampledFrom([]string{"t", "u", "a.b", "a_b"})
	switch rapid.IntRange(0, 21).Draw(g.t, "kind") {
	case 0:
		id := g.node()
		c := RegisterNode{NodeID: id, Incarnation: fmt.Sprint(g.ids), Address: "x:1", Rack: rapid.SampledFrom([]string{"a", "b"}).Draw(g.t, "rack")}
		c.SameBoot, c.NoData = rapid.Bool().Draw(g.t, "boot"), rapid.IntRange(0, 9).Draw(g.t, "empty") == 0
		if rapid.Bool().Draw(g.t, "clean") {
			c.PreviousEpoch = g.s.Nodes[id].GetNodeEpoch()
		}
		return c
	case 1:
		return FenceNode{g.node()}
	case 2, 3, 4:
		return UnfenceNode{g.node()}
	case 5:
		return ShutDownNode{g.node()}
	case 6:
		g.ids++
		n := name.Draw(g.t, "name")
		if assignment, err := g.s.Place(nil, 2, rapid.IntRange(1, 4).Draw(g.t, "factor")); err == nil {
			return CreateTopic{Name: n, ID: id(g.ids), Assignment: assignment, Configs: map[string]string{
				minInsyncReplicas:   fmt.Sprint(rapid.IntRange(1, 3).Draw(g.t, "min")),
				"moldau.durability": rapid.SampledFrom([]string{"durable", "relaxed"}).Draw(g.t, "durability"),
			}}
		}
		return CreateTopic{Name: n, ID: id(g.ids), Assignment: [][]int32{g.nodes()}}
	case 7:
		return AddPartitions{name.Draw(g.t, "name"), [][]int32{g.nodes()}}
	case 8:
		return DeleteTopic{Name: name.Draw(g.t, "name")}
	case 9:
		return AllocateProducerIDs{rapid.Int32Range(0, 9).Draw(g.t, "count")}
	case 10, 11, 12:
		return g.alterPartition()
	case 13:
		t, i := g.partition()
		node := g.node()
		return ReportReplicas{node, g.s.Nodes[node].GetNodeEpoch(), []*metadatav1.SuspectReplica{{TopicId: t.TopicId, Partition: i}}}
	case 14:
		t, i := g.partition()
		return &ElectLeaders{Unclean: rapid.Bool().Draw(g.t, "unclean"), Elections: []*metadatav1.LeaderElection{{TopicId: t.TopicId, Partition: i, Replica: -1}}}
	case 15:
		t, i := g.partition()
		return &AlterReassignments{Moves: []*metadatav1.Reassignment{{TopicId: t.TopicId, Partition: i, Replicas: g.nodes()}}}
	case 16:
		t, i := g.partition()
		return &AlterReassignments{Moves: []*metadatav1.Reassignment{{TopicId: t.TopicId, Partition: i}}}
	case 17:
		return EvacuateNode{NodeID: g.node(), Undo: rapid.Bool().Draw(g.t, "undo")}
	case 18:
		return &AlterReassignments{Moves: append(g.s.PlanMoves(3), g.s.PlanBalance(3)...)}
	case 19:
		set := map[string]string{minInsyncReplicas: fmt.Sprint(rapid.IntRange(1, 3).Draw(g.t, "min"))}
		if rapid.Bool().Draw(g.t, "cluster") {
			return AlterClusterConfigs{BrokerID: -1, Set: set}
		}
		return AlterTopic{Name: name.Draw(g.t, "name"), Set: set}
	case 20:
		return RemoveNode{g.node()}
	default:
		return g.member()
	}
}

func (g *generator) member() Change {
	id := g.node()
	switch rapid.IntRange(0, 5).Draw(g.t, "member") {
	case 0, 1:
		return coordinator(id, fmt.Sprint(g.ids%3), "c:1")
	case 2:
		return FenceCoordinators{[]int32{id}}
	case 3:
		return BalanceShards{rapid.IntRange(0, 9).Draw(g.t, "most")}
	case 4:
		return CreateInternalTopics{IDs: [2]topicid.ID{{g.ids, 2}, {g.ids, 3}}}
	default:
		return gateway(id, fmt.Sprint(g.ids%3))
	}
}

// alterPartition is what a leader may ask: mostly right, sometimes stale.
func (g *generator) alterPartition() Change {
	t, i := g.partition()
	p := t.Partitions[i]
	ask := &metadatav1.AlterPartition{
		TopicId: t.TopicId, Partition: i, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch - rapid.Int32Range(0, 5).Draw(g.t, "old")/5,
		Recovering: rapid.IntRange(0, 3).Draw(g.t, "recovering") == 0,
	}
	for _, n := range p.Replicas {
		if n == p.Leader || rapid.Bool().Draw(g.t, "in") {
			ask.Isr = append(ask.Isr, &metadatav1.InSyncReplica{NodeId: n, NodeEpoch: g.s.Nodes[n].GetNodeEpoch()})
		}
	}
	return &AlterPartitions{NodeID: p.Leader, NodeEpoch: g.s.Nodes[p.Leader].GetNodeEpoch(), Partitions: []*metadatav1.AlterPartition{ask}}
}

// TestAnyHistoryKeepsTheInvariants applies random changes and checks after each.
func TestAnyHistoryKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &generator{t: t, s: New("c")}
		g.s.Defaults.Shards, g.s.Defaults.ReplicationFactor = 7, 2
		for n := range int32(4) {
			g.s, _, _ = g.s.Apply(RegisterNode{NodeID: n, Incarnation: "first", Address: "x:1", Rack: string('a' + rune(n%2))})
			g.s, _, _ = g.s.Apply(UnfenceNode{n})
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			c := g.change()
			before := whole(g.s)
			next, d, err := g.s.Apply(c)
			if whole(g.s) != before {
				t.Fatalf("%T changed the old state", c)
			}
			if (err != nil || d.Empty()) && next != g.s {
				t.Fatalf("%T changed nothing but gave a new state", c)
			}
			checkState(t, next)
			checkStep(t, g.s, next, c, d)
			if again, _, _ := g.s.Apply(c); whole(again) != whole(next) {
				t.Fatalf("%T is not deterministic", c)
			}
			g.s = next
		}
	})
}

// whole renders all that can change.
func whole(s *State) string {
	out := render(s)
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		for _, p := range s.Topics[name].Partitions {
			out += partition(p) + "\n"
		}
	}
	return out
}

// checkState checks what is true at any time.
func checkState(t *rapid.T, s *State) {
	for name, topic := range s.Topics {
		for i, p := range topic.Partitions {
			if why := faultOf(s, p); why != "" {
				t.Fatalf("%s-%d: %s: %s", name, i, why, partition(p))
			}
		}
		if s.TopicByID(topicid.ID(topic.TopicId)) != topic {
			t.Fatalf("%s is not found by its id", name)
		}
	}
	owned := map[int32]int{}
	for _, shard := range s.Shards {
		if c := s.Coordinators[shard.Owner]; shard.Owner != noOwner && (c == nil || c.Fenced) {
			t.Fatalf("a shard is owned by coordinator %d, which is out of service", shard.Owner)
		}
		owned[shard.Owner]++
	}
	for _, c := range s.Coordinators {
		if !c.Fenced && owned[noOwner] > 0 {
			t.Fatal("a shard is owned by nobody though a coordinator is in service")
		}
	}
}

// faultOf tells which invariant a partition breaks.
func faultOf(s *State, p *metadatav1.PartitionState) string {
	in := func(list []int32) func(int32) bool { return func(n int32) bool { return slices.Contains(list, n) } }
	not := func(f func(int32) bool) func(int32) bool { return func(n int32) bool { return !f(n) } }
	short := len(p.Isr) < int(minISR(p))
	switch {
	case slices.ContainsFunc(p.Isr, not(in(p.Replicas))) || slices.ContainsFunc(p.Elr, not(in(p.Replicas))):
		return "no replica is in sync or eligible (invariant 10)"
	case slices.ContainsFunc(p.Isr, not(s.Live)):
		return "one in sync is out of service (invariant 10)"
	case p.Leader != NoLeader && !slices.Contains(p.Isr, p.Leader):
		return "the leader is not in sync (invariant 10)"
	case p.Leader == NoLeader && (len(p.Isr) > 0 || slices.ContainsFunc(p.Elr, s.Live)):
		return "nobody leads though one could"
	case slices.ContainsFunc(p.Elr, in(p.Isr)) || !short && len(p.Elr) > 0:
		return "who is eligible is in sync, or enough are (invariant 11)"
	case slices.ContainsFunc(p.LastKnownElr, in(p.Isr)) || slices.ContainsFunc(p.LastKnownElr, in(p.Elr)):
		return "the last known are in sync or eligible"
	case slices.ContainsFunc(p.Adding, not(in(p.Replicas))) || slices.ContainsFunc(p.Removing, not(in(p.Replicas))):
		return "a move is of no replica"
	case moving(p) && len(without(homes(p), p.Isr)) == 0:
		return "a move does not end"
	case int(minISR(p)) > len(p.Replicas)-len(p.Adding):
		return "more must be in sync than there are (R11)"
	}
	return ""
}

// checkStep checks what is true of any change.
func checkStep(t *rapid.T, old, next *State, c Change, d Delta) {
	if next.LastNodeEpoch < old.LastNodeEpoch || next.NextProducerID < old.NextProducerID {
		t.Fatal("a counter went back (invariant 16)")
	}
	for id, n := range next.Nodes {
		if o := old.Nodes[id]; o != nil && n.NodeEpoch < o.NodeEpoch {
			t.Fatal("a node epoch went back (invariant 16)")
		}
		if (old.Nodes[id] != n) != slices.Contains(d.Nodes, id) {
			t.Fatalf("node %d changed, and the delta does not say so", id)
		}
	}
	for i, shard := range old.Shards {
		if n := next.Shards[i]; n != shard && n.Epoch != shard.Epoch+1 || n.Owner != shard.Owner && n.Epoch == shard.Epoch {
			t.Fatalf("shard %d: %v became %v", i, shard, n)
		}
	}
	for name, o := range old.Topics {
		n := next.Topics[name]
		if n == nil || topicid.ID(n.TopicId) != topicid.ID(o.TopicId) {
			if next.Tombstones[topicid.ID(o.TopicId)] == nil {
				t.Fatal("a topic vanished without a tombstone (invariant 17)")
			}
			continue
		}
		if (n != o) != (count(d.Topics, name) == 1) || count(d.Topics, name) > 1 {
			t.Fatalf("topic %s changed, and the delta does not say so once", name)
		}
		for i, p := range o.Partitions {
			if why := badStep(c, p, n.Partitions[i]); why != "" {
				t.Fatalf("%s-%d: %T: %s: %s became %s", name, i, c, why, partition(p), partition(n.Partitions[i]))
			}
		}
	}
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

// badStep tells which rule a change of one partition breaks.
func badStep(c Change, o, p *metadatav1.PartitionState) string {
	report, byReport := c.(ReportReplicas)
	if o == p {
		return ""
	}
	unclean := false
	if e, ok := c.(*ElectLeaders); ok {
		unclean = e.Unclean
	}
	lost := without(slices.Concat(o.Isr, o.Elr), slices.Concat(p.Isr, p.Elr, p.LastKnownElr))
	grown := without(p.Isr, slices.Concat(o.Isr, o.Elr))
	_, byLeader := c.(*AlterPartitions)
	switch {
	case byReport && (p.LeaderEpoch != o.LeaderEpoch+1 || slices.Contains(p.Isr, report.NodeID) || slices.Contains(p.Elr, report.NodeID)):
		return "what a failed replica said before may still count (N6, R8)"
	case same(o, p) && !byLeader && !byReport:
		return "nothing changed"
	case p.PartitionEpoch != o.PartitionEpoch+1:
		return "the partition epoch does not count changes (R10)"
	case o.Leader != p.Leader && p.LeaderEpoch != o.LeaderEpoch+1:
		return "the leader changed and its epoch did not grow by one (invariant 7)"
	case p.LeaderEpoch < o.LeaderEpoch || p.LeaderEpoch > o.LeaderEpoch+1:
		return "the leader epoch jumped (invariant 7)"
	case len(grown) > 0 && !byLeader && !unclean:
		return "someone came into sync without the leader's evidence (invariant 10)"
	case p.Leader != NoLeader && o.Leader != p.Leader && !slices.Contains(o.Isr, p.Leader) && !slices.Contains(o.Elr, p.Leader) && !byLeader && !unclean:
		return "one leads that was neither in sync nor eligible (invariant 4)"
	case !unclean && len(lost) > 0 && len(p.Isr) < int(minISR(p)) && len(without(lost, without(o.Replicas, p.Replicas))) > 0 && o.MinInsyncReplicas == p.MinInsyncReplicas:
		return "one that had all records was forgotten (R10)"
	case !o.Recovering && p.Recovering && !unclean:
		return "a loss that nobody asked for (R13)"
	}
	return ""
}

// catchUp lets every replica that lives come into sync.
func catchUp(t *rapid.T, s *State) *State {
	for name := range s.Topics {
		for i := range s.Topics[name].Partitions {
			topic, p := s.Topics[name], s.Topics[name].Partitions[i]
			if p.Leader == NoLeader || len(p.Isr) == len(p.Replicas) {
				continue
			}
			ask := &metadatav1.AlterPartition{TopicId: topic.TopicId, Partition: int32(i), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
			for _, n := range p.Replicas {
				if s.Live(n) {
					ask.Isr = append(ask.Isr, &metadatav1.InSyncReplica{NodeId: n, NodeEpoch: s.Nodes[n].NodeEpoch})
				}
			}
			c := &AlterPartitions{NodeID: p.Leader, NodeEpoch: s.Nodes[p.Leader].NodeEpoch, Partitions: []*metadatav1.AlterPartition{ask}}
			var err error
			if s, _, err = s.Apply(c); err != nil || c.Results[0].Error != nil {
				t.Fatalf("%s-%d does not catch up: %v %v", name, i, err, c.Results)
			}
		}
	}
	return s
}
