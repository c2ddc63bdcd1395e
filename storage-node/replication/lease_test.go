package replication

import (
	"testing"
	"time"
)

// TestLeaseCountsOnlyBeatsWhoseRevisionWasSeen: a node that the controller hears,
// but that does not hear of the controller's changes, loses its lease (R12).
func TestLeaseCountsOnlyBeatsWhoseRevisionWasSeen(t *testing.T) {
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	l := NewLease(3 * time.Second)
	held := func(ms int, want bool) {
		t.Helper()
		if l.Held(at(ms)) != want {
			t.Errorf("after %d ms: held %v", ms, !want)
		}
	}
	held(0, false)
	l.Seen(7)
	l.Answered(at(0), 7)
	held(2999, true)
	held(3000, false)
	for i := range 40 { // the controller is at revision 8, and the node does not know why
		l.Answered(at(100*i), 8)
	}
	held(3000, false)
	l.Seen(8)
	held(6899, true)
	held(6900, false)
	l.Answered(at(100), 8) // an answer that comes late moves nothing back
	held(6899, true)
}
