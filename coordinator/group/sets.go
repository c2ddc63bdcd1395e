package group

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"moldau.dev/services/topicid"
)

// sortedKeys returns a map's keys in order, so that nothing depends on that of
// the map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// partition is one partition of one incarnation of a topic.
type partition struct {
	topic topicid.ID
	index int32
}

func comparePartitions(a, b partition) int {
	if c := bytes.Compare(a.topic[:], b.topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.index, b.index)
}

// partitions are sorted, each once, and never changed: copies share them.
type partitions []partition

func (p partitions) has(x partition) bool {
	_, found := slices.BinarySearchFunc(p, x, comparePartitions)
	return found
}

func newPartitions(list []partition) partitions {
	slices.SortFunc(list, comparePartitions)
	return slices.Compact(list)
}

// held is a partition that a member holds, and the member epoch in which it
// got it (KIP-1251).
type held struct {
	partition
	epoch int32
}

func compareHeld(a, b held) int { return comparePartitions(a.partition, b.partition) }

// holdings are sorted by partition, each once, and never changed.
type holdings []held

func (h holdings) find(x partition) (held, bool) {
	i, found := slices.BinarySearchFunc(h, held{partition: x}, compareHeld)
	if !found {
		return held{}, false
	}
	return h[i], true
}

// covers tells whether all of p is in h.
func (h holdings) covers(p partitions) bool {
	return !slices.ContainsFunc(p, func(x partition) bool {
		_, has := h.find(x)
		return !has
	})
}

// split parts h into what is in p and what is not.
func (h holdings) split(p partitions) (in, out holdings) {
	for _, x := range h {
		if p.has(x.partition) {
			in = append(in, x)
		} else {
			out = append(out, x)
		}
	}
	return in, out
}

// plus adds partitions that are not in h.
func (h holdings) plus(more []partition, epoch int32) holdings {
	sum := slices.Clone(h)
	for _, x := range more {
		sum = append(sum, held{x, epoch})
	}
	slices.SortFunc(sum, compareHeld)
	return sum
}

func (h holdings) partitions() partitions {
	p := make(partitions, len(h))
	for i, x := range h {
		p[i] = x.partition
	}
	return p
}

// samePartitions tells whether a and b hold the same, whenever they got it.
func samePartitions(a, b holdings) bool {
	return slices.EqualFunc(a, b, func(x, y held) bool { return x.partition == y.partition })
}
