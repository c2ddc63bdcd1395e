package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Ownership is a member's claim to a partition in one generation of its group.
type Ownership struct {
	Group, Partition, Member string
	Generation               int64
	From, To                 int64 // nanoseconds; To 0: never given up
}

// CheckOwners finds partitions with two owners in one generation, or two at
// one time (invariant 19).
func CheckOwners(claims []Ownership) []Anomaly {
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b Ownership) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.From, b.From), cmp.Compare(a.Member, b.Member))
	})
	var found []Anomaly
	for i, a := range claims {
		for _, b := range claims[i+1:] {
			if b.Group != a.Group || b.Partition != a.Partition {
				break
			}
			if a.Member == b.Member {
				continue
			}
			if a.Generation == b.Generation || a.To == 0 || b.From < a.To {
				found = append(found, Anomaly{Kind: RebalanceOverlap, Log: a.Partition, Details: fmt.Sprintf(
					"group %s: %s in generation %d and %s in generation %d", a.Group, a.Member, a.Generation, b.Member, b.Generation)})
			}
		}
	}
	return found
}

// OffsetOp is a commit or a fetch of the offset of one group in one partition.
type OffsetOp struct {
	Group, Partition string
	Commit           bool
	Offset           int64 // committed, or fetched; NoOffset where none was found
	Outcome          Outcome
	Invoke, Complete int64
}

// CheckOffsets finds fetches that no register could answer (invariant 20): of an
// offset that was never committed, or was certainly overwritten before.
func CheckOffsets(ops []OffsetOp) []Anomaly {
	type key struct{ group, partition string }
	byKey := map[key][]OffsetOp{}
	for _, op := range ops {
		k := key{op.Group, op.Partition}
		byKey[k] = append(byKey[k], op)
	}
	keys := slices.SortedFunc(maps.Keys(byKey), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.partition, b.partition))
	})
	var found []Anomaly
	for _, k := range keys {
		if !linearizable(byKey[k]) {
			found = append(found, Anomaly{Kind: LostOffset, Log: k.partition, Details: fmt.Sprintf(
				"group %s: no order of its %d commits and fetches explains what was fetched", k.group, len(byKey[k]))})
		}
	}
	return found
}

// Keyed is a record of a compacted log.
type Keyed struct {
	Key     string
	Value   int64
	Deleted bool // a tombstone
}

// CheckCompaction folds what was acknowledged, in order of offsets, and a fresh
// read of the whole log: both must give the same map (invariant 29).
func CheckCompaction(log string, acknowledged, read []Keyed) []Anomaly {
	want, got := fold(acknowledged), fold(read)
	var found []Anomaly
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[key]; !ok || v != want[key] {
			found = append(found, Anomaly{Kind: CompactionLoss, Log: log, Details: fmt.Sprintf("key %q: %d was written last, %s was read", key, want[key], shown(v, ok))})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			found = append(found, Anomaly{Kind: CompactionLoss, Log: log, Details: fmt.Sprintf("key %q was deleted, %d was read", key, got[key])})
		}
	}
	return found
}

func shown(v int64, ok bool) string {
	if !ok {
		return "nothing"
	}
	return fmt.Sprint(v)
}

func fold(records []Keyed) map[string]int64 {
	m := map[string]int64{}
	for _, r := range records {
		if r.Deleted {
			delete(m, r.Key)
		} else {
			m[r.Key] = r.Value
		}
	}
	return m
}
