package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

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

func gateway(id int32, incarnation string) RegisterGateway {
	return RegisterGateway{&metadatav1.GatewayState{BrokerId: id, Incarnation: incarnation, KafkaAddress: "g:1"}}
}

func coordinator(id int32, incarnation, address string) RegisterCoordinator {
	return RegisterCoordinator{&metadatav1.CoordinatorState{CoordinatorId: id, Incarnation: incarnation, Address: address}}
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
		{"unless its clean shutdown proves the end", RegisterNode{NodeID: 1, Incarnation: "b", PreviousEpoch: 1, Address: "x:1"}, "", "1/e3/fenced"},
		{"an older clean shutdown proves nothing", RegisterNode{NodeID: 2, Incarnation: "b", PreviousEpoch: 1, Address: "x:1"}, errcode.NodeUnavailable, ""},
		{"register without address", RegisterNode{NodeID: 3, Incarnation: "a"}, errcode.InvalidArgument, ""},
		{"register without incarnation", RegisterNode{NodeID: 3, Address: "x"}, errcode.InvalidArgument, ""},
		{"register with a negative id", register(-1, "a"), errcode.InvalidArgument, ""},
		{"register with a long text", RegisterNode{NodeID: 3, Incarnation: "a", Address: strings.Repeat("x", 2000)}, errcode.InvalidArgument, ""},
		{"fence takes the lead away", FenceNode{1}, "", "t/v1[l-1e1p1 l2e0p0]"},
		{"fence of a stranger", FenceNode{9}, errcode.UnknownNode, ""},
		{"a shutdown takes the lead away", ShutDownNode{2}, "", "t/v1[l1e0p0 l-1e1p1]"},
		{"unfence of one in service changes nothing", UnfenceNode{1}, "", "t/v1[l1e0p0 l2e0p0]"},
		{"elections change nothing when all is well", Settle{}, "", "t/v1[l1e0p0 l2e0p0]"},
		{"a node in service is not removed", RemoveNode{1}, errcode.PolicyViolation, ""},

		{"create", create("u", 2, 2), "", "u/v1[l2e0p0]"},
		{"create under a taken name", create("t", 2, 1), errcode.TopicAlreadyExists, ""},
		{"create with a used id", create("u", 1, 1), errcode.InvalidArgument, ""},
		{"create without id", CreateTopic{Name: "u", Assignment: [][]int32{{1}}}, errcode.InvalidArgument, ""},
		{"create without partitions", create("u", 2), errcode.InvalidPartitions, ""},
		{"create with a bad name", create("a b", 2, 1), errcode.InvalidTopicName, ""},
		{"create on a stranger", create("u", 2, 9), errcode.InvalidReplicaAssignment, ""},
		{"create with two replicas", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1, 2}}}, "", "u/v1[l1e0p0]"},
		{"create with a node twice", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1, 1}}}, errcode.InvalidReplicaAssignment, ""},
		{"create with unlike partitions", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1, 2}, {1}}}, errcode.InvalidReplicaAssignment, ""},
		{"create with no replica", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{}}}, errcode.InvalidReplicaAssignment, ""},
		{"create with a bad config", CreateTopic{Name: "u", ID: id(2), Assignment: [][]int32{{1}}, Configs: map[string]string{"x": ""}}, errcode.InvalidConfig, ""},
		{"create too large", CreateTopic{Name: "u", ID: id(2), Assignment: make([][]int32, MaxPartitions+1)}, errcode.InvalidPartitions, ""},
		{"create a relaxed memory of coordinators", CreateTopic{Name: "__consumer_offsets", ID: id(2), Assignment: [][]int32{{1}}}, errcode.PolicyViolation, ""},

		{"alter", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}}, "", "t/v2"},
		{"alter at the version", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}, Version: 1}, "", "t/v2"},
		{"alter at another version", AlterTopic{Name: "t", Version: 7}, errcode.StaleRevision, ""},
		{"alter nothing", AlterTopic{Name: "t", Reset: []string{"retention.ms"}}, "", "t/v1"},
		{"alter to a bad value", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "soon"}}, errcode.InvalidConfig, ""},
		{"set and reset at once", AlterTopic{Name: "t", Set: map[string]string{"retention.ms": "5"}, Reset: []string{"retention.ms"}}, errcode.InvalidArgument, ""},
		{"reset of an unknown config", AlterTopic{Name: "t", Reset: []string{"x"}}, errcode.InvalidConfig, ""},
		{"alter of a missing topic", AlterTopic{Name: "u"}, errcode.UnknownTopic, ""},

		{"grow", AddPartitions{"t", [][]int32{{2}}}, "", "t/v2[l1e0p0 l2e0p0 l2e0p0]"},
		{"grow with other factors", AddPartitions{"t", [][]int32{{2, 1}}}, errcode.InvalidReplicaAssignment, ""},
		{"grow by nothing", AddPartitions{"t", nil}, errcode.InvalidPartitions, ""},
		{"grow a missing topic", AddPartitions{"u", [][]int32{{1}}}, errcode.UnknownTopic, ""},
		{"grow too far", AddPartitions{"t", make([][]int32, MaxPartitions)}, errcode.InvalidPartitions, ""},

		{"delete leaves a tombstone", DeleteTopic{Name: "t"}, "", "+t"},
		{"delete this incarnation", DeleteTopic{"t", id(1)}, "", "+t"},
		{"delete another incarnation", DeleteTopic{"t", id(2)}, errcode.InconsistentTopic, ""},
		{"delete a missing topic", DeleteTopic{Name: "u"}, errcode.UnknownTopic, ""},
		{"forget what never was", ForgetTombstones{[]topicid.ID{id(9)}}, "", "t/v1"},

		{"producer ids", AllocateProducerIDs{1000}, "", "pid1000"},
		{"no producer ids", AllocateProducerIDs{0}, errcode.InvalidArgument, ""},
		{"too many producer ids", AllocateProducerIDs{MaxProducerIDs + 1}, errcode.InvalidArgument, ""},

		{"a gateway", gateway(4, "a"), "", "g4/e3"},
		{"a gateway without incarnation", gateway(4, ""), errcode.InvalidArgument, ""},
		{"a gateway with a negative id", gateway(-4, "a"), errcode.InvalidArgument, ""},
		{"a gateway of too many nodes", RegisterGateway{&metadatav1.GatewayState{Incarnation: "a", LocalNodes: make([]int32, 2000)}}, errcode.InvalidArgument, ""},
		{"a coordinator", coordinator(4, "a", "c:1"), "", "c4/a"},
		{"a coordinator without incarnation", coordinator(4, "", "c:1"), errcode.InvalidArgument, ""},
		{"a coordinator without address", coordinator(4, "a", ""), errcode.InvalidArgument, ""},
		{"a coordinator with a negative id", coordinator(-4, "a", "c:1"), errcode.InvalidArgument, ""},
		{"fence and forget strangers", FenceGateways{[]int32{9}}, "", "t/v1"},
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
		{"a node that shuts down stays out until it registers anew", []Change{ShutDownNode{1}, FenceNode{1}, UnfenceNode{1}}, "t/v1[l-1e1p1"},
		{"and then leads", []Change{ShutDownNode{1}, FenceNode{1}, register(1, "b"), UnfenceNode{1}}, "t/v1[l1e2p2"},
		{"a name may be used again, under a new id", []Change{DeleteTopic{Name: "t"}, create("t", 2, 1)}, "t/v1[l1e0p0]"},
		{"a tombstone can be forgotten", []Change{DeleteTopic{Name: "t"}, ForgetTombstones{[]topicid.ID{id(1)}}}, "pid0"},
		{"a collision ends with its cause", []Change{create("a.b", 2, 1), DeleteTopic{Name: "a.b"}, create("a_b", 3, 1)}, "a_b/v1"},
		{"an evacuated node that starts anew is still to be evacuated", []Change{DeleteTopic{Name: "t"}, EvacuateNode{NodeID: 1}, FenceNode{1}, register(1, "b")}, "1/e3/fenced/evacuating"},
		{"a node without replicas is forgotten", []Change{DeleteTopic{Name: "t"}, FenceNode{1}, RemoveNode{1}}, "+t pid0"},
		{"a gateway keeps its epoch over silence", []Change{gateway(4, "a"), FenceGateways{[]int32{4}}, gateway(4, "a")}, "g4/e3 "},
		{"a gateway that starts anew gets another", []Change{gateway(4, "a"), gateway(4, "b")}, "g4/e4 "},
		{"a fenced gateway can be forgotten", []Change{gateway(4, "a"), FenceGateways{[]int32{4}}, ForgetGateways{[]int32{4}}}, "pid0"},
		{"one in service cannot", []Change{gateway(4, "a"), ForgetGateways{[]int32{4}}}, "g4/e3 "},
		{"a fenced coordinator can be forgotten", []Change{coordinator(4, "a", "c"), FenceCoordinators{[]int32{4}}, ForgetCoordinators{[]int32{4}}}, "pid0"},
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

// TestOldPartitionsSettle: what a version that kept single replicas stored has
// no minimum and keeps the dead in sync.
func TestOldPartitionsSettle(t *testing.T) {
	s := after(t, register(1, "a"))
	s.Topics["t"] = &metadatav1.TopicState{Name: "t", TopicId: make([]byte, 16), Partitions: []*metadatav1.PartitionState{
		{Replicas: []int32{1}, Isr: []int32{1}, Leader: NoLeader, LeaderEpoch: 4, PartitionEpoch: 5},
	}}
	s, _, _ = s.Restore().Apply(Settle{})
	if p := s.Topics["t"].Partitions[0]; !slices.Equal(p.Elr, []int32{1}) || len(p.Isr) > 0 {
		t.Errorf("settled as %v", p)
	}
	s, _, _ = s.Apply(UnfenceNode{1})
	if p := s.Topics["t"].Partitions[0]; p.Leader != 1 || p.LeaderEpoch != 5 || len(p.Elr) > 0 {
		t.Errorf("unfenced: %v", p)
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
	for _, n := range slices.Sorted(maps.Keys(s.Nodes)) {
		node := s.Nodes[n]
		fmt.Fprintf(&b, "%d/e%d%s%s ", n, node.NodeEpoch, flagged("/fenced", node.Fenced), flagged("/evacuating", node.Evacuating))
	}
	for _, n := range slices.Sorted(maps.Keys(s.Gateways)) {
		fmt.Fprintf(&b, "g%d/e%d%s ", n, s.Gateways[n].Epoch, flagged("/fenced", s.Gateways[n].Fenced))
	}
	for _, n := range slices.Sorted(maps.Keys(s.Coordinators)) {
		fmt.Fprintf(&b, "c%d/%s%s ", n, s.Coordinators[n].Incarnation, flagged("/fenced", s.Coordinators[n].Fenced))
	}
	for _, shard := range s.Shards {
		fmt.Fprintf(&b, "s%d/%d ", shard.Owner, shard.Epoch)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		topic := s.Topics[name]
		var parts []string
		for _, p := range topic.Partitions {
			parts = append(parts, fmt.Sprintf("l%de%dp%d", p.Leader, p.LeaderEpoch, p.PartitionEpoch))
		}
		fmt.Fprintf(&b, "%s/v%d[%s] ", name, topic.Version, strings.Join(parts, " "))
	}
	for n := range byte(10) {
		if g := s.Tombstones[id(n)]; g != nil {
			fmt.Fprintf(&b, "+%s ", g.Name)
		}
	}
	fmt.Fprintf(&b, "pid%d %v", s.NextProducerID, s.Settings)
	return b.String()
}
