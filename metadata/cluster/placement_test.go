package cluster

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestPlacementIsEven, whatever the racks and the number of nodes, as far as it
// can be.
func TestPlacementIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, racks := rapid.IntRange(1, 12).Draw(t, "nodes"), rapid.IntRange(1, 4).Draw(t, "racks")
		s := New("c")
		for n := range int32(nodes) {
			s, _, _ = s.Apply(RegisterNode{NodeID: n, Incarnation: "a", Address: "x:1", Rack: fmt.Sprint(int(n) % racks)})
			s, _, _ = s.Apply(UnfenceNode{n})
		}
		factor := rapid.IntRange(1, min(nodes, 4)).Draw(t, "factor")
		assignment, err := s.Place(nil, rapid.IntRange(1, 200).Draw(t, "partitions"), factor)
		if err != nil {
			t.Fatal(err)
		}
		leaders, replicas := map[int32]int{}, map[int32]int{}
		for _, list := range assignment {
			leaders[list[0]]++
			used := map[string]bool{}
			for _, node := range list {
				replicas[node]++
				used[s.Nodes[node].Rack] = true
			}
			if len(used) != min(factor, racks, nodes) {
				t.Fatalf("%v is in racks %v", list, used)
			}
		}
		if d := spread(leaders, nodes); d > 1 {
			t.Errorf("leaders differ by %d: %v", d, leaders)
		}
		if d := spread(replicas, nodes); nodes%racks == 0 && d > 2 {
			t.Errorf("replicas differ by %d: %v", d, replicas)
		}
	})
}

func spread(counts map[int32]int, nodes int) int {
	least, most := counts[0], counts[0]
	for n := range int32(nodes) {
		least, most = min(least, counts[n]), max(most, counts[n])
	}
	return most - least
}

// TestDeathLoadsAllOthers: when a node dies, its leaderships go to many.
func TestDeathLoadsAllOthers(t *testing.T) {
	s := New("c")
	for n := range int32(6) {
		s, _, _ = s.Apply(register(n, "a"))
		s, _, _ = s.Apply(UnfenceNode{n})
	}
	assignment, _ := s.Place(nil, 300, 3)
	next := map[int32]int{}
	for _, list := range assignment {
		if list[0] == 2 {
			next[list[1]]++
		}
	}
	for n := range int32(6) {
		if n != 2 && (next[n] < 5 || next[n] > 15) {
			t.Errorf("who leads 50 partitions after node 2: %v", next)
		}
	}
}

// TestBalanceEndsEven: whatever the assignment, planning and moving comes to an
// end where nodes differ little, and racks are not given up.
func TestBalanceEndsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(2, 7).Draw(t, "nodes")
		s := New("c")
		for n := range int32(nodes) {
			s, _, _ = s.Apply(register(n, "a"))
			s, _, _ = s.Apply(UnfenceNode{n})
		}
		some := rapid.Int32Range(0, int32(nodes-1))
		for topic := range byte(rapid.IntRange(1, 3).Draw(t, "topics")) {
			c := CreateTopic{Name: fmt.Sprint(topic), ID: id(topic + 1)}
			for range rapid.IntRange(1, 40).Draw(t, "partitions") {
				a, b := some.Draw(t, "a"), some.Draw(t, "b")
				if a == b {
					b = (b + 1) % int32(nodes)
				}
				c.Assignment = append(c.Assignment, []int32{a, b})
			}
			s, _, _ = s.Apply(c)
		}
		for round := 0; ; round++ {
			plan := s.PlanBalance(10)
			if len(plan) > 10 {
				t.Fatalf("%d moves at once", len(plan))
			}
			if len(plan) == 0 {
				break
			}
			if round > 100 {
				t.Fatal("it never ends")
			}
			s, _, _ = s.Apply(&AlterReassignments{Moves: plan})
			s = catchUp(t, s)
			s, _, _ = s.Apply(&ElectLeaders{})
		}
		all, sum := newLoad(), 0
		for _, topic := range s.Topics {
			all.addTopic(topic)
			sum += len(topic.Partitions)
		}
		if d := spread(all.replicas, nodes); d > 3+2*sum/nodes/4 {
			t.Errorf("replicas differ by %d: %v", d, all.replicas)
		}
	})
}
