package group

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"moldau.dev/services/topicid"
)

// drawSpec draws members and topics; what members had is drawn too, and may be
// of topics that they do not subscribe to any more, or that are smaller now.
func drawSpec(t *rapid.T) assignorSpec {
	spec := assignorSpec{sizes: map[topicid.ID]int32{}}
	topics := make([]topicid.ID, rapid.IntRange(1, 5).Draw(t, "topics"))
	for i := range topics {
		topics[i] = topicid.ID{byte(i + 1)}
	}
	alike := rapid.Bool().Draw(t, "alike")
	had := map[partition]bool{}
	for i := range rapid.IntRange(1, 8).Draw(t, "members") {
		m := assignorMember{id: fmt.Sprintf("m%d", i), topics: topics}
		if rapid.Bool().Draw(t, "static") {
			m.instance = fmt.Sprintf("i%d", 9-i)
		}
		if !alike {
			m.topics = nil
			for _, topic := range topics {
				if rapid.Bool().Draw(t, "subscribes") {
					m.topics = append(m.topics, topic)
				}
			}
		}
		for _, p := range rapid.SliceOfN(rapid.Custom(func(t *rapid.T) partition {
			return partition{topics[rapid.IntRange(0, len(topics)-1).Draw(t, "topic")], int32(rapid.IntRange(0, 12).Draw(t, "index"))}
		}), 0, 12).Draw(t, "had") {
			if !had[p] {
				had[p] = true
				m.current = append(m.current, p)
			}
		}
		m.current = newPartitions(m.current)
		for _, topic := range m.topics {
			if _, sized := spec.sizes[topic]; !sized {
				spec.sizes[topic] = int32(rapid.IntRange(0, 12).Draw(t, "size"))
			}
		}
		spec.members = append(spec.members, m)
	}
	return spec
}

// TestEveryPartitionHasOneOwnerThatSubscribes is invariant 19 for the assignors.
func TestEveryPartitionHasOneOwnerThatSubscribes(t *testing.T) {
	for name, assign := range assignors {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				spec := drawSpec(t)
				owner := map[partition]int{}
				for i, target := range assign(spec) {
					for _, p := range target {
						if other, taken := owner[p]; taken {
							t.Fatalf("%v goes to members %d and %d", p, other, i)
						}
						owner[p] = i
						if !slices.Contains(spec.members[i].topics, p.topic) || p.index >= spec.sizes[p.topic] {
							t.Fatalf("member %d gets %v", i, p)
						}
					}
				}
				want := 0
				for _, n := range spec.sizes {
					want += int(n)
				}
				if len(owner) != want {
					t.Fatalf("%d of %d partitions have owners", len(owner), want)
				}
			})
		})
	}
}

// TestUniformIsEvenAndMovesNothingWithoutNeed: no partition could go to a member
// that subscribes to it and has two less, and a second assignment is the first.
func TestUniformIsEvenAndMovesNothingWithoutNeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		targets := assignUniformly(spec)
		for i := range targets {
			for _, p := range targets[i] {
				for j := range targets {
					if slices.Contains(spec.members[j].topics, p.topic) && len(targets[j])+1 < len(targets[i]) {
						t.Fatalf("member %d has %d, member %d has %d and could have %v", i, len(targets[i]), j, len(targets[j]), p)
					}
				}
			}
		}
		for i := range spec.members {
			spec.members[i].current = targets[i]
		}
		if again := assignUniformly(spec); !slices.EqualFunc(again, targets, slices.Equal) {
			t.Fatalf("a second assignment moves partitions:\n%v\n%v", targets, again)
		}
	})
}

// TestANewMemberMovesAsLittleAsItCan: members that all read the same lose only
// what the new one gets.
func TestANewMemberMovesAsLittleAsItCan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, members := rapid.IntRange(0, 40).Draw(t, "partitions"), rapid.IntRange(1, 6).Draw(t, "members")
		topic := topicid.ID{1}
		spec := assignorSpec{sizes: map[topicid.ID]int32{topic: int32(n)}}
		for i := range members {
			spec.members = append(spec.members, assignorMember{id: fmt.Sprint(i), topics: []topicid.ID{topic}})
		}
		before := assignUniformly(spec)
		for i := range before {
			spec.members[i].current = before[i]
		}
		spec.members = append(spec.members, assignorMember{id: "new", topics: []topicid.ID{topic}})
		after := assignUniformly(spec)
		lost := 0
		for i := range before {
			for _, p := range before[i] {
				if !after[i].has(p) {
					lost++
				}
			}
		}
		if lost != len(after[members]) {
			t.Fatalf("%d moved, the new member has %d", lost, len(after[members]))
		}
	})
}

// TestRangesOfTopicsAlikeMeet: partitions of one number of topics of one size
// are with one member, as joins need it.
func TestRangesOfTopicsAlikeMeet(t *testing.T) {
	spec := assignorSpec{sizes: map[topicid.ID]int32{{1}: 7, {2}: 7}}
	for i, instance := range []string{"", "b", "a"} {
		spec.members = append(spec.members, assignorMember{id: fmt.Sprint(i), instance: instance, topics: []topicid.ID{{1}, {2}}})
	}
	want := []partitions{
		{{topicid.ID{1}, 5}, {topicid.ID{1}, 6}, {topicid.ID{2}, 5}, {topicid.ID{2}, 6}},
		{{topicid.ID{1}, 3}, {topicid.ID{1}, 4}, {topicid.ID{2}, 3}, {topicid.ID{2}, 4}},
		{{topicid.ID{1}, 0}, {topicid.ID{1}, 1}, {topicid.ID{1}, 2}, {topicid.ID{2}, 0}, {topicid.ID{2}, 1}, {topicid.ID{2}, 2}},
	}
	if got := assignRanges(spec); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v", got)
	}
}

func BenchmarkUniformOf5000Members(b *testing.B) {
	topic := topicid.ID{1}
	spec := assignorSpec{sizes: map[topicid.ID]int32{topic: 10_000}}
	for i := range 5_000 {
		spec.members = append(spec.members, assignorMember{id: fmt.Sprintf("%05d", i), topics: []topicid.ID{topic}})
	}
	for b.Loop() {
		for i, t := range assignUniformly(spec) {
			spec.members[i].current = t
		}
	}
}
