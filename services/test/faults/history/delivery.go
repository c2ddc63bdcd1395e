package history

import (
	"fmt"
	"slices"
)

// CheckCopies compares a topic's partition with its copy that was made exactly
// once: the same values in the same order, all of them if the copy is whole
// (invariant 25).
func CheckCopies(log string, from, to []int64, whole bool) []Anomaly {
	if n := min(len(from), len(to)); !slices.Equal(from[:n], to[:n]) {
		at := 0
		for from[at] == to[at] {
			at++
		}
		return []Anomaly{{Kind: BadCopy, Log: log, Details: fmt.Sprintf(
			"its record %d is value %d, which the original has at %d and the copy %d times; the original's is %d, which the copy has at %d",
			at, to[at], slices.Index(from, to[at]), occurrences(to, to[at]), from[at], slices.Index(to, from[at]))}}
	}
	if len(to) > len(from) || whole && len(to) < len(from) {
		return []Anomaly{{Kind: BadCopy, Log: log, Details: fmt.Sprintf("%d values are copied, there are %d", len(to), len(from))}}
	}
	return nil
}

func occurrences(list []int64, v int64) (n int) {
	for _, other := range list {
		if other == v {
			n++
		}
	}
	return n
}

// CheckDelivery finds what a group passed over: records below an offset that it
// committed and that no member was given, and commits that were acknowledged and
// are gone (invariant 20). Delivered are offsets, past the highest commit that
// was acknowledged and committed what the coordinator holds at the end, each by
// log.
func CheckDelivery(group string, ops []Op, delivered map[string]map[int64]bool, past, committed map[string]int64) []Anomaly {
	var found []Anomaly
	newAnalysis(ops).each(func(l *log) {
		if committed[l.name] < past[l.name] {
			found = append(found, Anomaly{Kind: LostOffset, Log: l.name, Details: fmt.Sprintf(
				"group %s committed %d, and %d is there at the end", group, past[l.name], committed[l.name])})
		}
		for _, offset := range l.order {
			if offset < committed[l.name] && !delivered[l.name][offset] {
				found = append(found, Anomaly{Kind: Undelivered, Log: l.name, Details: fmt.Sprintf(
					"group %s committed %d, and no member was given offset %d", group, committed[l.name], offset)})
				return
			}
		}
	})
	return found
}
