package replication

import "testing"

func TestFailedReplicaIsReplacedOnlyWhereAnotherOneLeads(t *testing.T) {
	three := []int32{1, 2, 3}
	for _, c := range []struct {
		name     string
		s        Standing
		reported bool
		want     Remedy
	}{
		{"the only replica", Standing{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}, false, Keep},
		{"leads", Standing{Leader: 1, Replicas: three, ISR: three}, false, Report},
		{"follows in sync", Standing{Leader: 2, Replicas: three, ISR: three}, false, Report},
		{"follows out of sync, and may be about to be proposed", Standing{Leader: 2, Replicas: three, ISR: []int32{2, 3}}, false, Report},
		{"out of sync, eligible", Standing{Leader: 2, Replicas: three, ISR: []int32{2}, ELR: []int32{1}}, true, Report},
		{"alone in sync, nobody else eligible", Standing{Leader: 1, Replicas: three, ISR: []int32{1}}, false, Keep},
		{"alone in sync, nobody else eligible, reported before", Standing{Leader: 1, Replicas: three, ISR: []int32{1}}, true, Keep},
		{"alone in sync, another eligible", Standing{Leader: 1, Replicas: three, ISR: []int32{1}, ELR: []int32{3}}, false, Report},
		{"reported, the eligible one is away", Standing{Leader: -1, Replicas: three, ELR: []int32{3}}, true, Await},
		{"reported, nobody is eligible", Standing{Leader: -1, Replicas: three}, true, Keep},
		{"reported, another one leads", Standing{Leader: 3, Replicas: three, ISR: []int32{3}}, true, Replace},
		{"reported, and came back in sync", Standing{Leader: 3, Replicas: three, ISR: []int32{1, 3}}, true, Report},
		{"reported, and chosen with loss", Standing{Leader: 1, Replicas: three, ISR: []int32{1}}, true, Keep},
		{"moved away", Standing{Leader: 2, Replicas: []int32{2, 3}, ISR: []int32{2, 3}}, true, Keep},
	} {
		if got := c.s.Remedy(1, c.reported); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestNoReplacementLeavesNobodyWithWhatWasCommitted goes through every standing of
// three replicas.
func TestNoReplacementLeavesNobodyWithWhatWasCommitted(t *testing.T) {
	set := func(bits int) (nodes []int32) {
		for n := range int32(3) {
			if bits>>n&1 == 1 {
				nodes = append(nodes, n+1)
			}
		}
		return nodes
	}
	for bits := range 1 << 9 {
		for leader := int32(-1); leader <= 3; leader++ {
			s := Standing{Leader: leader, Replicas: set(bits), ISR: set(bits >> 3), ELR: set(bits >> 6)}
			for _, reported := range []bool{false, true} {
				if s.Remedy(1, reported) != Replace {
					continue
				}
				if bits>>3&1 == 1 || bits>>6&1 == 1 || leader <= 1 || bits>>3>>(leader-1)&1 == 0 || !reported {
					t.Fatalf("%+v, reported %v: replaced", s, reported)
				}
			}
		}
	}
}

func TestReplicaWithoutRoomYieldsWhereEnoughAreLeft(t *testing.T) {
	for _, c := range []struct {
		s    Standing
		want bool
	}{
		{Standing{ISR: []int32{1, 2, 3}, MinISR: 2}, true},
		{Standing{ISR: []int32{1, 2}, MinISR: 2}, false},
		{Standing{ISR: []int32{1, 2}}, true},
		{Standing{ISR: []int32{1}, MinISR: 1}, false},
		{Standing{ISR: []int32{2, 3}, MinISR: 1}, false},
	} {
		if got := c.s.Yields(1); got != c.want {
			t.Errorf("%+v: %v", c.s, got)
		}
	}
}
