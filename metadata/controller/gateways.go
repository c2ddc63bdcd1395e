package controller

import (
	"context"
	"sync"
	"time"

	"moldau.dev/services/clock"
)

// Gateways knows which gateways live and which revision each has reached, so
// that the answer to an admin call can wait until whatever gateway a client
// asks next knows of the change. Safe for concurrent use.
type Gateways struct {
	clk     clock.Clock
	timeout time.Duration

	mu      sync.Mutex
	byID    map[string]gateway
	changed chan struct{}
}

type gateway struct {
	seen     time.Time
	revision int64
}

func newGateways(clk clock.Clock, timeout time.Duration) *Gateways {
	return &Gateways{clk: clk, timeout: timeout, byID: map[string]gateway{}, changed: make(chan struct{})}
}

// Beat notes that a gateway lives and has reached revision.
func (g *Gateways) Beat(id string, revision int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byID[id] = gateway{seen: g.clk.Now(), revision: max(revision, g.byID[id].revision)}
	close(g.changed)
	g.changed = make(chan struct{})
}

// Leave forgets a gateway that goes.
func (g *Gateways) Leave(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byID, id)
	close(g.changed)
	g.changed = make(chan struct{})
}

// Wait returns once every live gateway has reached revision, when limit has
// passed, or when ctx is done, and tells whether all have reached it.
func (g *Gateways) Wait(ctx context.Context, revision int64, limit time.Duration) bool {
	deadline := g.clk.Now().Add(limit)
	for {
		behind, changed, next := g.behind(revision)
		if behind == 0 {
			return true
		}
		left := min(deadline.Sub(g.clk.Now()), next)
		if deadline.Sub(g.clk.Now()) <= 0 || !g.sleep(ctx, changed, left) {
			return false
		}
	}
}

// behind counts live gateways that lag, and says when the next of them may be
// given up for dead.
func (g *Gateways) behind(revision int64) (n int, changed <-chan struct{}, next time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next = g.timeout
	for id, gw := range g.byID {
		left := g.timeout - g.clk.Since(gw.seen)
		if left <= 0 {
			delete(g.byID, id)
			continue
		}
		if gw.revision < revision {
			n++
			next = min(next, left)
		}
	}
	return n, g.changed, next
}

func (g *Gateways) sleep(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	timer := g.clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C():
	case <-ctx.Done():
		return false
	}
	return true
}
