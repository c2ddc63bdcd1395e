// Package clock is the only place that reads time. Everything above takes a
// [Clock], so a test or the simulator can move time by hand; below it there is
// only the standard library.
//
// Invariant: within one process all parts of a role share one Clock.
package clock

import "time"

// Clock tells the time and wakes people up.
type Clock interface {
	// Now returns the current time.
	Now() time.Time
	// Since returns Now() - t.
	Since(t time.Time) time.Duration
	// NewTimer returns a timer that sends once on its channel after d.
	NewTimer(d time.Duration) Timer
	// AfterFunc calls f in its own goroutine after d. The returned timer has
	// a nil channel.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is one pending wake-up. Its methods follow time.Timer of Go 1.23 and
// later: after Stop or Reset no stale value is received.
type Timer interface {
	// C is the channel of a NewTimer timer, nil for AfterFunc.
	C() <-chan time.Time
	// Stop prevents the wake-up and reports whether it was still pending.
	Stop() bool
	// Reset moves the wake-up to d from now and reports whether it was still
	// pending.
	Reset(d time.Duration) bool
}
