package group

import (
	"cmp"
	"slices"

	"moldau.dev/services/topicid"
)

// assignUniformly spreads partitions evenly and moves as few as that takes:
// members keep what they were given, as long as nobody has two more than
// somebody else who subscribes to it.
func assignUniformly(spec assignorSpec) []partitions {
	if len(spec.members) == 0 {
		return nil
	}
	a := newUniform(spec)
	if spec.sameTopics() {
		a.assignAlike()
	} else {
		a.assignMixed()
	}
	return sorted(a.given)
}

// uniform is one assignment in the making.
type uniform struct {
	assignorSpec
	given [][]partition // by member
	taken map[partition]bool
	total int
}

func newUniform(spec assignorSpec) *uniform {
	a := &uniform{assignorSpec: spec, given: make([][]partition, len(spec.members)), taken: map[partition]bool{}}
	for _, n := range spec.sizes {
		a.total += int(n)
	}
	return a
}

// keeps are the partitions that member i had, may still have, and nobody has
// taken.
func (a *uniform) keeps(i int) (keep []partition) {
	for _, p := range a.members[i].current {
		if p.index < a.sizes[p.topic] && !a.taken[p] && a.wants(i, p.topic) {
			keep = append(keep, p)
		}
	}
	return keep
}

func (a *uniform) wants(i int, topic topicid.ID) bool {
	_, has := slices.BinarySearchFunc(a.members[i].topics, topic, compareTopics)
	return has
}

func (a *uniform) give(i int, p partition) {
	a.given[i] = append(a.given[i], p)
	a.taken[p] = true
}

// free are the partitions that nobody has, topic by topic.
func (a *uniform) free(topics []topicid.ID) (free []partition) {
	for _, topic := range topics {
		for n := range a.sizes[topic] {
			if p := (partition{topic, n}); !a.taken[p] {
				free = append(free, p)
			}
		}
	}
	return free
}

// assignAlike serves members that all subscribe to the same: each gets its
// share, and some one more.
func (a *uniform) assignAlike() {
	share, extra := a.total/len(a.members), a.total%len(a.members)
	quota := make([]int, len(a.members))
	for i := range a.members {
		keep := a.keeps(i)
		quota[i] = share
		if len(keep) > share && extra > 0 {
			quota[i], extra = share+1, extra-1
		}
		for _, p := range keep[:min(len(keep), quota[i])] {
			a.give(i, p)
		}
	}
	for i := range quota {
		if quota[i] == share && extra > 0 {
			quota[i], extra = share+1, extra-1
		}
	}
	// One after the other, so that the partitions of a topic go to many.
	next := 0
	for _, p := range a.free(a.sortedTopics()) {
		for len(a.given[next]) >= quota[next] {
			next = (next + 1) % len(quota)
		}
		a.give(next, p)
		next = (next + 1) % len(quota)
	}
}

// assignMixed serves members that subscribe to different topics.
func (a *uniform) assignMixed() {
	for i := range a.members {
		for _, p := range a.keeps(i) {
			a.give(i, p)
		}
	}
	subscribers := map[topicid.ID][]int{}
	for i := range a.members {
		for _, t := range a.members[i].topics {
			subscribers[t] = append(subscribers[t], i)
		}
	}
	topics := a.sortedTopics()
	// Those first that few can have, as they leave no choice.
	slices.SortStableFunc(topics, func(x, y topicid.ID) int { return cmp.Compare(len(subscribers[x]), len(subscribers[y])) })
	for _, p := range a.free(topics) {
		a.give(a.least(subscribers[p.topic]), p)
	}
	for moved := true; moved; { // ends: each move makes the sum of squares smaller
		moved = false
		for _, t := range topics {
			for a.level(t, subscribers[t]) {
				moved = true
			}
		}
	}
}

// least is who has the least of some members.
func (a *uniform) least(of []int) int {
	return slices.MinFunc(of, func(x, y int) int { return cmp.Compare(len(a.given[x]), len(a.given[y])) })
}

// level moves one partition of a topic from who has the most to who has the
// least, if that is two less.
func (a *uniform) level(topic topicid.ID, subscribers []int) bool {
	most := -1
	for _, i := range subscribers {
		if a.ofTopic(i, topic) >= 0 && (most < 0 || len(a.given[i]) > len(a.given[most])) {
			most = i
		}
	}
	least := a.least(subscribers)
	if most < 0 || len(a.given[most]) < len(a.given[least])+2 {
		return false
	}
	at := a.ofTopic(most, topic)
	p := a.given[most][at]
	a.given[most] = slices.Delete(a.given[most], at, at+1)
	a.given[least] = append(a.given[least], p)
	return true
}

// ofTopic finds a partition of a topic that a member has: rather one that it
// was given just now, as it loses nothing with that.
func (a *uniform) ofTopic(i int, topic topicid.ID) int {
	for at := len(a.given[i]) - 1; at >= 0; at-- {
		if a.given[i][at].topic == topic {
			return at
		}
	}
	return -1
}
