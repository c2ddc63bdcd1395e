package group

import (
	"cmp"
	"slices"
	"strings"
)

// assignRanges gives the members of each topic, in their order, a range of its
// partitions each: topics of equal size with the same subscribers are assigned
// alike, so that their partitions of one number meet at one member. Members are
// in the order of their instance ids, where they have one, else of their ids,
// so that a restarted static member is where it was.
func assignRanges(spec assignorSpec) []partitions {
	order := make([]int, len(spec.members))
	for i := range order {
		order[i] = i
	}
	name := func(i int) string { return cmp.Or(spec.members[i].instance, spec.members[i].id) }
	slices.SortStableFunc(order, func(a, b int) int {
		// Static members come first, as in Kafka.
		if s, t := spec.members[a].instance != "", spec.members[b].instance != ""; s != t {
			if s {
				return -1
			}
			return 1
		}
		return strings.Compare(name(a), name(b))
	})
	targets := make([][]partition, len(spec.members))
	for _, topic := range spec.sortedTopics() {
		var subscribers []int
		for _, i := range order {
			if _, has := slices.BinarySearchFunc(spec.members[i].topics, topic, compareTopics); has {
				subscribers = append(subscribers, i)
			}
		}
		n, size := int32(len(subscribers)), spec.sizes[topic]
		next := int32(0)
		for k, i := range subscribers {
			share := size / n
			if int32(k) < size%n {
				share++
			}
			for range share {
				targets[i] = append(targets[i], partition{topic, next})
				next++
			}
		}
	}
	return sorted(targets)
}

func sorted(targets [][]partition) []partitions {
	out := make([]partitions, len(targets))
	for i, t := range targets {
		out[i] = newPartitions(t)
	}
	return out
}
