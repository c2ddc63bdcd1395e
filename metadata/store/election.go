package store

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
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
func (e *election) elect(ctx context.Context, candidate string, bump func() (int64, error)) (Lease, error) {
	if err := e.usable(ctx); err != nil {
		return nil, err
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
	fence := Fence{Session: rand.Text(), Epoch: epoch}
	l := &lease{election: e, holder: Holder{Candidate: candidate, Fence: fence}, lost: make(chan struct{})}
	e.mu.Lock()
	e.current = l
	e.mu.Unlock()
	return l, nil
}

// guard runs f while fence holds, and no candidate takes over meanwhile.
func (e *election) guard(fence Fence, f func() (int64, error)) (int64, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.current == nil || e.current.holder.Fence != fence {
		return 0, ErrDeposed
	}
	return f()
}

func (e *election) holder(ctx context.Context) (Holder, error) {
	if err := e.usable(ctx); err != nil {
		return Holder{}, err
	}
	if l := e.lease(); l != nil {
		return l.holder, nil
	}
	return Holder{}, nil
}

func (e *election) depose(ctx context.Context, h Holder) error {
	if err := e.usable(ctx); err != nil {
		return err
	}
	if l := e.lease(); l != nil && l.holder == h {
		l.end()
	}
	return nil
}

func (e *election) lease() *lease {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.current
}

func (e *election) usable(ctx context.Context) error {
	select {
	case <-e.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

func (e *election) close() {
	if l := e.lease(); l != nil {
		l.end()
	}
	close(e.closed)
}

type lease struct {
	election *election
	holder   Holder
	lost     chan struct{}
	once     sync.Once
}

func (l *lease) Fence() Fence                  { return l.holder.Fence }
func (l *lease) Epoch() int64                  { return l.holder.Fence.Epoch }
func (l *lease) HeldWithin(time.Duration) bool { return l.election.lease() == l }
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
