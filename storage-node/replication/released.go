package replication

import "slices"

// Assignment is what metadata says of where a partition is.
type Assignment struct {
	Replicas, ISR []int32
	Leader        int32 // -1 where nobody leads
	LeaderEpoch   int32
	MinISR        int32 // 0 counts as 1
	Moving        bool  // replicas are being added or removed
}

// Releases tells whether node self may delete what it has of the partition, whose
// log goes up to leader epoch last: it was moved away, by an assignment that was
// committed after all that the log holds, and others serve it. Replicas that leave
// begin a leader epoch (R17), so an assignment that is not of a later one than the
// log's is older, or of metadata that went back; and one without replicas says
// nothing (invariant 17, rule N9).
func (a *Assignment) Releases(self, last int32) bool {
	return len(a.Replicas) > 0 && !slices.Contains(a.Replicas, self) && !slices.Contains(a.ISR, self) && !a.Moving &&
		a.LeaderEpoch > last && slices.Contains(a.ISR, a.Leader) && len(a.ISR) >= int(max(a.MinISR, 1))
}
