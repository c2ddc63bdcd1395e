package replication

import "testing"

func TestDataIsReleasedOnlyByALaterAssignmentThatIsServed(t *testing.T) {
	moved := Assignment{Replicas: []int32{2, 3}, ISR: []int32{2, 3}, Leader: 2, LeaderEpoch: 5, MinISR: 2}
	for _, c := range []struct {
		name string
		last int32
		edit func(*Assignment)
		want bool
	}{
		{"moved away", 4, func(*Assignment) {}, true},
		{"never had a record", -1, func(*Assignment) {}, true},
		{"the log is of the same epoch", 5, func(*Assignment) {}, false},
		{"metadata went back", 7, func(*Assignment) {}, false},
		{"nothing is said of replicas", 4, func(a *Assignment) { a.Replicas = nil }, false},
		{"nothing at all", 4, func(a *Assignment) { *a = Assignment{} }, false},
		{"has a replica", 4, func(a *Assignment) { a.Replicas = []int32{1, 2, 3} }, false},
		{"still moves", 4, func(a *Assignment) { a.Moving = true }, false},
		{"nobody leads", 4, func(a *Assignment) { a.Leader, a.ISR = -1, nil }, false},
		{"too few are in sync", 4, func(a *Assignment) { a.ISR = []int32{2} }, false},
	} {
		a := moved
		c.edit(&a)
		if got := a.Releases(1, c.last); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
