package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// lockDelay is the shortest that Consul's client can ask for. Safety is from
// the fence of each transaction, not from a delay (C1).
const lockDelay = time.Millisecond

const releasePatience = 2 * time.Second

// Elect implements Store. A candidate that waits has no session.
func (c *Consul) Elect(ctx context.Context, candidate string) (Lease, error) {
	var seen uint64
	for {
		index, free, err := c.lockState(ctx, seen)
		if err != nil {
			return nil, err
		}
		if seen = index; !free {
			continue
		}
		lease, err := c.acquire(ctx, candidate)
		if lease != nil || err != nil {
			return lease, err
		}
		seen = 0 // another was faster, or the lock's delay is not over: look again
	}
}

// lockState waits until the lock has changed since index seen, 0 being at once,
// and tells whether it is free.
func (c *Consul) lockState(ctx context.Context, seen uint64) (index uint64, free bool, err error) {
	ctx, cancel, err := c.begin(ctx, blockingWait+blockingGrace)
	if err != nil {
		return 0, false, err
	}
	defer cancel()
	if err := c.rate.pace(ctx); err != nil {
		return 0, false, c.failure("watch the lock", err)
	}
	lock, meta, err := c.client.KV().Get(c.prefix+consulLock, blocking(ctx, seen))
	if err != nil {
		return 0, false, c.failure("watch the lock", err)
	}
	if index = meta.LastIndex; index <= seen {
		index = 0 // set back, or ended by a restore: what was known is void (C13)
	}
	return index, lock == nil || lock.Session == "", nil
}

// acquire takes the lock and the next epoch in one transaction, so that no
// epoch is without a holder. It returns nil where the lock could not be had.
func (c *Consul) acquire(ctx context.Context, candidate string) (Lease, error) {
	ctx, cancel, err := c.begin(ctx, requestPatience)
	if err != nil {
		return nil, err
	}
	defer cancel()
	epoch, index, err := c.readEpoch(ctx)
	if err != nil {
		return nil, err
	}
	began := c.clk.Now()
	session, _, err := c.client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "moldau controller " + candidate, TTL: sessionTTL.String(), Behavior: api.SessionBehaviorRelease, LockDelay: lockDelay,
	}, new(api.WriteOptions).WithContext(ctx))
	if err != nil {
		return nil, c.failure("create a session", err)
	}
	h := Holder{Candidate: candidate, Fence: Fence{Session: session, Epoch: epoch + 1}}
	epochIndex, err := c.take(ctx, h, index)
	if err != nil || epochIndex == 0 {
		_ = c.destroy(context.WithoutCancel(ctx), session) // it ends by itself otherwise
		return nil, err
	}
	l := &consulLease{
		consul: c, holder: h, epochIndex: epochIndex,
		tenure: tenure{renewed: began, confirmed: began}, lost: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(c.closed)
	c.mu.Lock()
	c.leases[h.Fence] = l
	c.mu.Unlock()
	c.keeps.Go(l.keep)
	return l, nil
}

// take returns the new index of the epoch, or 0 where the lock is not free or
// the epoch has moved on.
func (c *Consul) take(ctx context.Context, h Holder, index uint64) (uint64, error) {
	value, err := json.Marshal(holderValue{Candidate: h.Candidate, Epoch: h.Fence.Epoch})
	if err != nil {
		return 0, fmt.Errorf("consul: encode the holder: %w", err)
	}
	key := c.prefix + consulEpoch
	ok, resp, _, err := c.client.Txn().Txn(api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVLock, Key: c.prefix + consulLock, Session: h.Fence.Session, Value: value}},
		{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: key, Index: index,
			Value: Seal(consulEpoch, Stamp{ControllerEpoch: h.Fence.Epoch}, []byte(h.Fence.Session), nil)}},
	}, consistent(ctx))
	if err != nil {
		return 0, c.failure("acquire the lock", err)
	}
	for _, r := range resp.Results {
		if ok && r.KV != nil && r.KV.Key == key {
			return r.KV.ModifyIndex, nil
		}
	}
	return 0, c.denied(resp.Errors)
}

// readEpoch returns the last epoch and the index of its key, both 0 in a new
// cluster.
func (c *Consul) readEpoch(ctx context.Context) (epoch int64, index uint64, err error) {
	p, _, err := c.client.KV().Get(c.prefix+consulEpoch, consistent(ctx))
	if err != nil {
		return 0, 0, c.failure("read the epoch", err)
	}
	if p == nil {
		return 0, 0, c.neverBefore(ctx)
	}
	stamp, _, _, err := Unseal(consulEpoch, p.Value)
	return stamp.ControllerEpoch, p.ModifyIndex, err
}

// neverBefore returns an error where there is truth but no epoch: to begin
// again at 1 would break invariant 16.
func (c *Consul) neverBefore(ctx context.Context) error {
	keys, _, err := c.client.KV().Keys(c.prefix+consulPairs, "/", consistent(ctx))
	if err != nil {
		return c.failure("look for keys", err)
	}
	if len(keys) > 0 {
		return &DamagedError{Key: c.prefix + consulEpoch, Cause: errors.New("the controller's epoch is missing beside other keys")}
	}
	return nil
}

// destroy ends a session, and so what it holds.
func (c *Consul) destroy(ctx context.Context, session string) error {
	ctx, cancel := context.WithTimeout(ctx, releasePatience)
	defer cancel()
	if _, err := c.client.Session().Destroy(session, new(api.WriteOptions).WithContext(ctx)); err != nil {
		return c.failure("destroy a session", err)
	}
	return nil
}

type consulLease struct {
	consul     *Consul
	holder     Holder
	epochIndex uint64 // of the key of the epoch

	ctx    context.Context // ends with the lease
	cancel context.CancelFunc
	lost   chan struct{}

	ended, released sync.Once

	mu     sync.Mutex
	tenure tenure
}

func (l *consulLease) Fence() Fence          { return l.holder.Fence }
func (l *consulLease) Epoch() int64          { return l.holder.Fence.Epoch }
func (l *consulLease) Lost() <-chan struct{} { return l.lost }

func (l *consulLease) HeldWithin(d time.Duration) bool {
	return l.ctx.Err() == nil && l.now().heldWithin(l.consul.clk.Now(), d)
}

func (l *consulLease) now() tenure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tenure
}

// keep renews the session and proves the fence until the lease is lost (C6).
func (l *consulLease) keep() {
	timer := l.consul.clk.NewTimer(confirmEvery)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			l.end()
			return
		case <-timer.C():
		}
		if err := l.prove(); deposed(err) || l.now().left(l.consul.clk.Now()) <= 0 {
			l.end()
			return
		}
		timer.Reset(confirmEvery)
	}
}

// prove asks Consul whether the lease holds. Of its errors only ErrDeposed says
// that it does not.
func (l *consulLease) prove() error {
	began, t := l.consul.clk.Now(), l.now()
	ctx, cancel := context.WithTimeout(l.ctx, max(t.left(began), 0))
	defer cancel()
	if t.renewalDue(began) {
		entry, _, err := l.consul.client.Session().Renew(l.holder.Fence.Session, new(api.WriteOptions).WithContext(ctx))
		if err == nil && entry == nil {
			return ErrDeposed
		}
		if err == nil {
			l.note(func(t *tenure) { t.renewed = began })
		}
	}
	_, err := l.consul.commit(ctx, l, nil)
	if err == nil {
		l.note(func(t *tenure) { t.confirmed = began })
	}
	return err
}

func (l *consulLease) note(change func(*tenure)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.tenure)
}

// Release implements Lease. The lock is released before the session is
// destroyed, which alone would delay the next candidate.
func (l *consulLease) Release(ctx context.Context) (err error) {
	l.end()
	l.released.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, releasePatience)
		defer cancel()
		lock := &api.KVPair{Key: l.consul.prefix + consulLock, Session: l.holder.Fence.Session}
		_, _, failed := l.consul.client.KV().Release(lock, new(api.WriteOptions).WithContext(ctx))
		if err = l.consul.destroy(ctx, l.holder.Fence.Session); err == nil && failed != nil {
			err = l.consul.failure("release the lock", failed)
		}
	})
	return err
}

// end makes the lease lost.
func (l *consulLease) end() {
	l.ended.Do(func() {
		l.consul.mu.Lock()
		delete(l.consul.leases, l.holder.Fence)
		l.consul.mu.Unlock()
		l.cancel()
		close(l.lost)
	})
}

func deposed(err error) bool { return errors.Is(err, ErrDeposed) }
