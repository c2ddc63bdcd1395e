package storagenode

import (
	"context"
	"sync"
	"time"

	"moldau.dev/services/clock"
)

// throttle bounds the bytes of a second, over everything that it is asked for.
type throttle struct {
	clock clock.Clock
	rate  int64 // bytes per second; 0: unbounded

	mu   sync.Mutex
	free time.Time // when what was let through so far has had its time
}

// wait returns once n more bytes may pass, or with ctx's cause.
func (t *throttle) wait(ctx context.Context, n int) error {
	if t.rate <= 0 {
		return nil
	}
	t.mu.Lock()
	now := t.clock.Now()
	if t.free.Before(now) {
		t.free = now
	}
	left := t.free.Sub(now)
	t.free = t.free.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	t.mu.Unlock()
	if left <= 0 {
		return nil
	}
	timer := t.clock.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
