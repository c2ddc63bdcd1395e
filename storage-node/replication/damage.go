package replication

import "slices"

// Remedy is what a node does about a replica of its own that has failed: its disk
// did, or its log is damaged (rules N6 to N8).
type Remedy int8

const (
	// Keep leaves it as it is, out of service: nobody else is known to hold what was
	// committed, so an operator must decide.
	Keep Remedy = iota
	// Report asks the controller to count on it no more.
	Report
	// Await leaves it as it is until one leads that it can be copied from.
	Await
	// Replace moves its files away and copies it from the leader.
	Replace
)

// String names the remedy.
func (r Remedy) String() string { return [...]string{"keep", "report", "await", "replace"}[r] }

// Standing is what metadata says of a partition, as far as a failed replica of it
// is concerned. Leader is -1 where nobody leads.
type Standing struct {
	Leader             int32
	Replicas, ISR, ELR []int32
	MinISR             int32 // 0 counts as 1
}

// Remedy for the replica of node self. reported tells that the controller has
// taken it out of the in-sync and the eligible ones, and that s is of after that:
// without it a leader may be about to propose the replica for what it held before,
// and what s does not show may be true already.
//
// What holds: a replica is replaced only while another one leads, which is in
// sync, and by a state in which nobody counts on what is replaced.
func (s *Standing) Remedy(self int32, reported bool) Remedy {
	counted := func(node int32) bool { return slices.Contains(s.ISR, node) || slices.Contains(s.ELR, node) }
	others := slices.ContainsFunc(s.Replicas, func(node int32) bool { return node != self && counted(node) })
	switch {
	case !others || !slices.Contains(s.Replicas, self):
		return Keep
	case counted(self) || s.Leader == self || !reported:
		return Report
	case !slices.Contains(s.ISR, s.Leader):
		return Await
	}
	return Replace
}

// Yields tells whether the replica of node self, whose disk is full, is to leave
// the in-sync replicas at once, and with them leadership: while it is one of them
// nothing is committed (rule N8). It stays where too few would be left to commit
// anything: it holds all that was.
func (s *Standing) Yields(self int32) bool {
	return slices.Contains(s.ISR, self) && len(s.ISR) > int(max(s.MinISR, 1))
}
