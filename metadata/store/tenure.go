package store

import "time"

// The times of a lease on Consul (C1, C6).
const (
	sessionTTL   = 10 * time.Second // the shortest that Consul takes
	renewEvery   = sessionTTL / 4
	loseAfter    = sessionTTL * 2 / 3 // without a renewal
	confirmEvery = 300 * time.Millisecond
)

// tenure is what a holder knows of its own lease: when the last successful
// renewal of its session began, and the last successful check of its fence. All
// times are of a monotonic clock, so a pause of the process counts.
type tenure struct {
	renewed   time.Time
	confirmed time.Time
}

func (t tenure) renewalDue(now time.Time) bool { return now.Sub(t.renewed) >= renewEvery }

// left returns for how long the lease may still be counted on; not positive is
// lost.
func (t tenure) left(now time.Time) time.Duration { return loseAfter - now.Sub(t.renewed) }

// heldWithin tells whether the fence was known to hold within the last d.
func (t tenure) heldWithin(now time.Time, d time.Duration) bool {
	return t.left(now) > 0 && now.Sub(t.confirmed) <= d
}
