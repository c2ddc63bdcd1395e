package cluster

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

func id(n byte) topicid.ID { return topicid.ID{n, 1} }

func register(n int32, incarnation string) RegisterNode {
	return RegisterNode{NodeID: n, Incarnation: incarnation, Address: fmt.Sprintf("host-%d:1", n)}
}

func create(name string, n byte, nodes ...int32) CreateTopic {
	c := CreateTopic{Name: name, ID: id(n)}
	for _, node := range nodes {
		c.Assignment = append(c.Assignment, []int32{node})
	}
	return c
}

// inService is a cluster of nodes 1 and 2, both in service, with topic t of
// two partitions.
var inService = []Change{
	register(1, "a"), UnfenceNode{1}, register(2, "a"), UnfenceNode{2}, create("t", 1, 1, 2),
}

func TestTransitions(t *testing.T) {
	tests := []struct {
		name   string
		change Change
		reason errcode.Reason // "" where it succeeds
		want   string         // in the rendered state afterwards
	}{
		{"register starts fenced", register(3, "a"), "", "3/e3/fenced"},
		{"the same incarnation keeps its epoch", register(1, "a"), "", "1/e1 "},
		{"another incarnation waits for the fence", register(1, "b"), errcode.NodeUnavailable, ""},
		{"unless its clean shutdown proves the end", RegisterNode{1, "b", 1, "x:1", ""}, "", "1/e3/fenced"},
		{"an older clean shutdown proves nothing", RegisterNode{2, "b", 1, "x:1", ""}, errcode.NodeUnavailable, ""},
		{"register without address", RegisterNode{NodeID: 3, Incarnation: "a"}, errcode.InvalidArgument, ""},
		{"register without incarnation", RegisterNode{NodeID: 3, Address: "x"}, errcode.InvalidArgument, ""},
		{"register with a negative id", register(-1, "a"), errcode.InvalidArgument, ""},
		{"fence takes the lead away", FenceNode{1}, "", "t/v1[l-1e1p1 l2e0p0]"},
		{"fence of a stranger", FenceNode{9}, errcode.InvalidArgument, ""},
		{"drain takes the lead away", DrainNode{2}, "", "t/v1[l1e0p0 l-1e1p1]"},
		{"unfence of one in service changes nothing", UnfenceNode{1}, "", "t/v1[l1e0p0 l2e0p0]"},
		{"elections change nothing when all is well", ElectLeaders{}, "", "t/v1[l1e0p0 l2e0p0]"},

		{"create", create("u", 2, 2), "", "u/v1[l2e0p0]"},
		{"create under a taken name", create("t", 2, 1), errcode.TopicAlreadyExists, ""},
		{"create with a used id", create("u", 1, 1), errcode.InvalidArgument, ""},
		{"create without id", CreateTopic{Name: "u", Assignment: [][]int32{{1}}}, errcode.InvalidArgument, ""},
		{"create without partitions", create("u", 2), errcode.InvalidPartitions, ""},
		{"create with a bad name", create("a b", 2, 1), errcode.InvalidTopicName, ""},
		{"create on a stranger", create("u", 2, 9), errcode.InvalidReplicaAssignment, ""},
		{"create with two replicas", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1, 2}}}, errcode.InvalidReplicationFactor, ""},
		{"create with no replica", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{}}}, errcode.InvalidReplicationFactor, ""},
		{"create with a bad config", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1}}, Configs: map[string]string{"x": ""}}, errcode.InvalidConfig, ""},
		{"create too large", CreateTopic{Name: "u", ID: id(2), Assignment: make([][]int32, MaxPartitions+1)}, errcode.InvalidPartitions, ""},

		{"alter", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}}, "", "t/v2"},
		{"alter at the version", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}, Version: 1}, "", "t/v2"},
		{"alter at another version", AlterTopic{Name: "t", Version: 7}, errcode.StaleRevision, ""},
		{"alter nothing", AlterTopic{Name: "t", Reset: []string{"retention.ms"}}, "", "t/v1"},
		{"alter to a bad value", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "soon"}}, errcode.InvalidConfig, ""},
		{"set and reset at once", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}, Reset: []string{"retention.ms"}}, errcode.InvalidArgument, ""},
		{"reset of an unknown config", AlterTopic{Name: "t", Reset: []string{"x"}}, errcode.InvalidConfig, ""},
		{"alter of a missing topic", AlterTopic{Name: "u"}, errcode.UnknownTopic, ""},

		{"grow", AddPartitions{"t", [][]int32{{2}}}, "", "t/v2[l1e0p0 l2e0p0 l2e0p0]"},
		{"grow by nothing", AddPartitions{"t", nil}, errcode.InvalidPartitions, ""},
		{"grow a missing topic", AddPartitions{"u", [][]int32{{1}}}, errcode.UnknownTopic, ""},
		{"grow too far", AddPartitions{"t", make([][]int32, MaxPartitions)}, errcode.InvalidPartitions, ""},

		{"delete leaves a tombstone", DeleteTopic{Name: "t"}, "", "+t"},
		{"delete this incarnation", DeleteTopic{"t", id(1)}, "", "+t"},
		{"delete another incarnation", DeleteTopic{"t", id(2)}, errcode.InconsistentTopic, ""},
		{"delete a missing topic", DeleteTopic{Name: "u"}, errcode.UnknownTopic, ""},
		{"forget what never was", ForgetTombstone{id(9)}, "", "t/v1"},

		{"producer ids", AllocateProducerIDs{1000}, "", "pid1000"},
		{"no producer ids", AllocateProducerIDs{0}, errcode.InvalidArgument, ""},
		{"too many producer ids", AllocateProducerIDs{MaxProducerIDs + 1}, errcode.InvalidArgument, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := after(t, inService...)
			before := render(s)
			next, delta, err := s.Apply(tt.change)
			if errcode.ReasonOf(err) != tt.reason {
				t.Fatalf("got %v, want %q", err, tt.reason)
			}
			if render(s) != before {
				t.Fatalf("the old state changed to %s", render(s))
			}
			if delta.Empty() != (next == s) {
				t.Errorf("delta %+v, but same state: %v", delta, next == s)
			}
			if !strings.Contains(render(next), tt.want) {
				t.Errorf("%q is not in %s", tt.want, render(next))
			}
		})
	}
}

func TestStories(t *testing.T) {
	tests := []struct {
		name    string
		changes []Change
		want    string
	}{
		{"a node comes back and leads again, in a new epoch", []Change{FenceNode{1}, UnfenceNode{1}}, "t/v1[l1e2p2 l2e0p0]"},
		{"a draining node stays out until it registers anew", []Change{DrainNode{1}, FenceNode{1}, UnfenceNode{1}}, "t/v1[l-1e1p1"},
		{"and then leads", []Change{DrainNode{1}, FenceNode{1}, register(1, "b"), UnfenceNode{1}}, "t/v1[l1e2p2"},
		{"a name may be used again, under a new id", []Change{DeleteTopic{Name: "t"}, create("t", 2, 1)}, "t/v1[l1e0p0]"},
		{"a tombstone can be forgotten", []Change{DeleteTopic{Name: "t"}, ForgetTombstone{id(1)}}, "pid0"},
		{"a collision ends with its cause", []Change{create("a.b", 2, 1), DeleteTopic{Name: "a.b"}, create("a_b", 3, 1)}, "a_b/v1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := after(t, append(append([]Change{}, inService...), tt.changes...)...)
			if !strings.Contains(render(s), tt.want) {
				t.Errorf("%q is not in %s", tt.want, render(s))
			}
		})
	}
	s := after(t, append(append([]Change{}, inService...), create("a.b", 2, 1))...)
	if _, _, err := s.Apply(create("a_b", 3, 1)); !errcode.Is(err, errcode.InvalidTopicName) {
		t.Errorf("collision: %v", err)
	}
	s = after(t, append(append([]Change{}, inService...), DeleteTopic{Name: "t"})...)
	if _, _, err := s.Apply(create("t", 1, 1)); !errcode.Is(err, errcode.InvalidArgument) {
		t.Errorf("id of a tombstone: %v", err)
	}
}

func after(t *testing.T, changes ...Change) *State {
	t.Helper()
	s := New("c")
	for _, c := range changes {
		next, _, err := s.Apply(c)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		s = next
	}
	return s
}

func render(s *State) string {
	var b strings.Builder
	for n := range int32(10) {
		if node := s.Nodes[n]; node != nil {
			fmt.Fprintf(&b, "%d/e%d", n, node.NodeEpoch)
			if node.Fenced {
				b.WriteString("/fenced")
			}
			b.WriteString(" ")
		}
	}
	for _, name := range []string{"a.b", "a_b", "t", "u"} {
		if topic := s.Topics[name]; topic != nil {
			var parts []string
			for _, p := range topic.Partitions {
				parts = append(parts, fmt.Sprintf("l%de%dp%d", p.Leader, p.LeaderEpoch, p.PartitionEpoch))
			}
			fmt.Fprintf(&b, "%s/v%d[%s] ", name, topic.Version, strings.Join(parts, " "))
		}
	}
	for n := range byte(10) {
		if g := s.Tombstones[id(n)]; g != nil {
			fmt.Fprintf(&b, "+%s ", g.Name)
		}
	}
	fmt.Fprintf(&b, "pid%d", s.NextProducerID)
	return b.String()
}

// TestAnyHistoryKeepsTheInvariants drives random changes, legal or not.
func TestAnyHistoryKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, ids := New("c"), byte(0)
		node := rapid.Int32Range(0, 3)
		name := rapid.SampledFrom([]string{"t", "u", "a.b", "a_b"})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			ids++
			var c Change
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				c = RegisterNode{node.Draw(t, "node"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "inc"), rapid.Int64Range(0, 5).Draw(t, "prev"), "x:1", ""}
			case 1:
				c = FenceNode{node.Draw(t, "node")}
			case 2, 3:
				c = UnfenceNode{node.Draw(t, "node")}
			case 4:
				c = DrainNode{node.Draw(t, "node")}
			case 5, 6:
				c = create(name.Draw(t, "name"), ids, rapid.SliceOfN(node, 1, 4).Draw(t, "nodes")...)
			case 7:
				c = AddPartitions{name.Draw(t, "name"), [][]int32{{node.Draw(t, "node")}}}
			case 8:
				c = DeleteTopic{Name: name.Draw(t, "name")}
			case 9:
				c = AllocateProducerIDs{rapid.Int32Range(0, 9).Draw(t, "count")}
			}
			before := render(s)
			next, _, err := s.Apply(c)
			if render(s) != before {
				t.Fatalf("%T changed the old state", c)
			}
			if err != nil && next != s {
				t.Fatalf("%T failed but gave a new state", c)
			}
			checkStep(t, s, next)
			if again, _, _ := s.Apply(c); render(again) != render(next) {
				t.Fatalf("%T is not deterministic", c)
			}
			s = next
		}
	})
}

func checkStep(t *rapid.T, old, next *State) {
	if next.LastNodeEpoch < old.LastNodeEpoch || next.NextProducerID < old.NextProducerID {
		t.Fatal("a counter went back (invariant 16)")
	}
	for id, n := range next.Nodes {
		if o := old.Nodes[id]; o != nil && n.NodeEpoch < o.NodeEpoch {
			t.Fatal("a node epoch went back (invariant 16)")
		}
	}
	for _, o := range old.Topics {
		if n := next.Topics[o.Name]; (n == nil || topicid.ID(n.TopicId) != topicid.ID(o.TopicId)) && next.Tombstones[topicid.ID(o.TopicId)] == nil {
			t.Fatal("a topic vanished without a tombstone (invariant 17)")
		}
	}
	for name, topic := range next.Topics {
		o := old.Topics[name]
		for i, p := range topic.Partitions {
			if p.Leader != NoLeader && (!next.Live(p.Leader) || p.Isr[0] != p.Leader) {
				t.Fatalf("%s-%d is led by %d, which is fenced or not in sync (invariant 10)", name, i, p.Leader)
			}
			if p.Leader == NoLeader && next.Live(p.Isr[0]) {
				t.Fatalf("%s-%d has no leader though its replica lives", name, i)
			}
			if o == nil || topicid.ID(o.TopicId) != topicid.ID(topic.TopicId) || i >= len(o.Partitions) {
				continue
			}
			checkEpochs(t, o.Partitions[i], p)
		}
	}
}

func checkEpochs(t *rapid.T, o, p *metadatav1.PartitionState) {
	leaders, partitions := int32(0), int32(0)
	if o.Leader != p.Leader {
		leaders = 1
	}
	if o != p {
		partitions = 1
	}
	if p.LeaderEpoch != o.LeaderEpoch+leaders || p.PartitionEpoch != o.PartitionEpoch+partitions {
		t.Fatalf("%v became %v (invariant 7)", o, p)
	}
}
