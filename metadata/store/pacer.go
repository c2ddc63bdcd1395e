package store

import (
	"context"
	"sync"
	"time"

	"moldau.dev/services/clock"
)

const (
	paceInterval = 50 * time.Millisecond
	paceBurst    = 2
)

// pacer is a token bucket for queries that should block and may not (C13): two
// at once, then one in 50 ms.
type pacer struct {
	clk clock.Clock

	mu   sync.Mutex
	next time.Time // when the bucket will have been full
}

func newPacer(clk clock.Clock) *pacer { return &pacer{clk: clk} }

// pace returns when the caller may ask, or with ctx's error.
func (p *pacer) pace(ctx context.Context) error {
	wait := p.take(p.clk.Now())
	if wait <= 0 {
		return nil
	}
	timer := p.clk.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes a token and returns after which time it is there.
func (p *pacer) take(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(paceInterval)
	return p.next.Sub(now) - paceBurst*paceInterval
}
