package bench

import (
	"context"
	"time"

	"moldau.dev/services/clock"
)

// schedule says when each send of one connection is due. It never waits for
// answers: a server that is late makes latencies grow, as it does to users.
type schedule struct {
	begin time.Time
	every float64 // nanoseconds
}

// newSchedule spreads sends of rate a second over connections; each begins a
// part of the interval after the one before it.
func newSchedule(begin time.Time, rate float64, connection, connections int) schedule {
	every := float64(connections) / rate * float64(time.Second)
	return schedule{begin.Add(time.Duration(every * float64(connection) / float64(connections))), every}
}

// due is counted from the beginning each time, so that no error adds up.
func (s schedule) due(n int64) time.Time { return s.begin.Add(time.Duration(float64(n) * s.every)) }

// waitUntil returns at t, or at once if t has passed. Between the runtime's
// timers, which a quiet process rounds up to a millisecond, and t it sleeps in
// the kernel.
func waitUntil(ctx context.Context, clk clock.Clock, t time.Time) error {
	for {
		left := -clk.Since(t)
		switch {
		case left <= 0:
			return nil
		case left > 2*runtimeSlack:
			if err := rest(ctx, clk, left-runtimeSlack); err != nil {
				return err
			}
		default:
			nap(clk, left)
		}
	}
}

const runtimeSlack = 2 * time.Millisecond

// rest waits for about d.
func rest(ctx context.Context, clk clock.Clock, d time.Duration) error {
	timer := clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
