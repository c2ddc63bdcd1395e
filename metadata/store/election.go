package store

import (
	"context"
	"crypto/rand"
	"sync"
)

// election is the leadership of a store that lives in one process: at most one
// lease, waited for by any number of candidates.
type election struct {
	free   chan struct{} // holds one token while nobody leads
	closed chan struct{}

	mu      sync.RWMutex // held for reading while a fenced Commit runs
	current *lease
}

func newElection() *election {
	e := &election{free: make(chan struct{}, 1), closed: make(chan struct{})}
	e.free <- struct{}{}
	return e
}

// elect waits for the token, then makes the next epoch durable by bump.
func (e *election) elect(ctx context.Context, bump func() (int64, error)) (Lease, error) {
	select {
	case <-e.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.closed:
		return nil, ErrClosed
	case <-e.free:
	}
	epoch, err := bump()
	if err != nil {
		e.free <- struct{}{}
		return nil, err
	}
	l := &lease{election: e, fence: Fence{Session: rand.Text(), Epoch: epoch}, lost: make(chan struct{})}
	e.mu.Lock()
	e.current = l
	e.mu.Unlock()
	return l, nil
}

// guard runs f while fence holds, and no candidate takes over meanwhile.
func (e *election) guard(fence Fence, f func() (int64, error)) (int64, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.current == nil || e.current.fence != fence {
		return 0, ErrDeposed
	}
	return f()
}

// depose ends the current lease, as the expiry of a session would.
func (e *election) depose() {
	e.mu.RLock()
	l := e.current
	e.mu.RUnlock()
	if l != nil {
		l.end()
	}
}

func (e *election) close() {
	e.depose()
	close(e.closed)
}

type lease struct {
	election *election
	fence    Fence
	lost     chan struct{}
	once     sync.Once
}

func (l *lease) Fence() Fence                  { return l.fence }
func (l *lease) Epoch() int64                  { return l.fence.Epoch }
func (l *lease) Lost() <-chan struct{}         { return l.lost }
func (l *lease) Release(context.Context) error { l.end(); return nil }

func (l *lease) end() {
	l.once.Do(func() {
		l.election.mu.Lock()
		l.election.current = nil
		l.election.mu.Unlock()
		close(l.lost)
		l.election.free <- struct{}{}
	})
}

// changes wakes watchers of a store that lives in one process.
type changes struct {
	mu    sync.Mutex
	index int64
	wake  chan struct{}
}

func newChanges(index int64) *changes { return &changes{index: index, wake: make(chan struct{})} }

func (c *changes) announce(index int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = max(c.index, index)
	close(c.wake)
	c.wake = make(chan struct{})
}

func (c *changes) wait(ctx context.Context, after int64, closed <-chan struct{}) (int64, error) {
	for {
		c.mu.Lock()
		index, wake := c.index, c.wake
		c.mu.Unlock()
		if index > after {
			return index, nil
		}
		select {
		case <-wake:
		case <-closed:
			return 0, ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
