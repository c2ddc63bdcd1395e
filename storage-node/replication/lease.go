package replication

import "time"

// Lease is a node's right to answer as a leader (R12): it runs out some time
// after the last heartbeat that the controller answered. A heartbeat counts only
// once the node's view has reached the revision of its answer: a node that hears
// the controller but not of its changes may have been replaced long ago. So a
// new leader that waits a lease's time after it learned of its lead knows that
// the former one has stopped.
type Lease struct {
	ttl       time.Duration
	confirmed time.Time // zero: never
	seen      int64     // revision of the view
	waiting   []beat    // answered, but of revisions that the view has not reached
}

type beat struct {
	sent     time.Time
	revision int64
}

// maxBeats bounds the answers that wait for the view; older ones say less.
const maxBeats = 16

// NewLease returns a lease that is not held yet.
func NewLease(ttl time.Duration) *Lease { return &Lease{ttl: ttl} }

// Answered notes that a heartbeat sent at a time was answered by a controller at
// a revision, which did not call the node fenced.
func (l *Lease) Answered(sent time.Time, revision int64) {
	if len(l.waiting) == maxBeats {
		l.waiting = l.waiting[1:]
	}
	l.waiting = append(l.waiting, beat{sent, revision})
	l.count()
}

// Seen notes the revision that the node's view has reached.
func (l *Lease) Seen(revision int64) {
	if revision > l.seen {
		l.seen = revision
		l.count()
	}
}

func (l *Lease) count() {
	kept := l.waiting[:0]
	for _, b := range l.waiting {
		if b.revision > l.seen {
			kept = append(kept, b)
		} else if b.sent.After(l.confirmed) {
			l.confirmed = b.sent
		}
	}
	l.waiting = kept
}

// Held tells whether the node may answer as a leader now.
func (l *Lease) Held(now time.Time) bool {
	return !l.confirmed.IsZero() && now.Sub(l.confirmed) < l.ttl
}
