package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

const (
	commitAttempts = 5
	outcomePause   = 100 * time.Millisecond
)

// load reads everything and makes the term's first image (C1). A store that
// holds nothing gets a cluster id.
func (c *Controller) load(ctx context.Context, lease store.Lease) (*term, error) {
	pairs, err := c.store.List(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("load metadata: %w", err)
	}
	r, err := read(pairs)
	if err != nil {
		return nil, err
	}
	if err := c.checkEvidence(r); err != nil {
		return nil, err
	}
	r.state.Defaults = c.cfg.Defaults
	now, epoch := c.clk.Now(), r.lineage.GetEpochBase()+lease.Epoch()
	t := &term{
		c: c, lease: lease, ctx: ctx, inbox: make(chan func()), done: make(chan struct{}),
		index: make(map[string]int64, len(pairs)), lastTick: now, audited: now, planned: now, balanced: now,
		nodes: newLiveness(c.cfg.FenceTimeout, now), gateways: newLiveness(c.cfg.FenceTimeout, now),
		coordinators: newLiveness(c.cfg.FenceTimeout, now),
		registered:   map[int32]int64{}, seen: map[int32]int64{}, leaving: map[int32]int64{},
		superseded: map[string]bool{}, deleted: map[topicid.ID]map[int32]bool{},
		image: &Image{
			State: r.state, Epoch: epoch, Revision: epoch << epochShift,
			Lineage: beginTerm(r.lineage, epoch, lease.Fence().Session),
		},
	}
	for _, p := range pairs {
		t.index[p.Key] = p.Index
	}
	for id := range r.state.Nodes {
		t.registered[id] = t.image.Revision
	}
	if err := t.begin(len(pairs)); err != nil {
		return nil, err
	}
	t.sweep(r.orphans)
	return t, t.failed
}

// checkEvidence returns an error where the store was set back (C11).
func (c *Controller) checkEvidence(r *reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evidence.check(r.lineage, r.state.ClusterID)
}

// begin makes the term known to the store before anyone sees anything of it. A
// new cluster gets its name.
func (t *term) begin(keys int) error {
	w := t.writer()
	ops := []store.Op{w.put(keyLineage, nil, t.image.Lineage)}
	if t.image.State.ClusterID == "" {
		if keys > 0 {
			return &store.DamagedError{Key: keyCluster, Cause: fmt.Errorf("the cluster's id is missing beside %d other keys", keys)}
		}
		t.image.State.ClusterID = topicid.New().String()
		ops = append(ops, w.put(keyCluster, []byte(t.image.State.ClusterID), nil))
	}
	if w.err != nil {
		return w.err
	}
	return t.commit(w.stamp, ops)
}

func (t *term) writer() *writer {
	w := &writer{stamp: store.Stamp{ControllerEpoch: t.image.Epoch}, index: t.index}
	_, _ = rand.Read(w.stamp.OpID[:]) // crypto/rand.Read never fails since Go 1.24
	return w
}

// write makes a change durable: shards first, in as many transactions as they
// need, then the one that makes it count, and the lineage with it.
func (t *term) write(next *cluster.State, d cluster.Delta, lineage *metadatav1.Lineage) error {
	w := t.writer()
	var shards []store.Op
	for _, name := range d.Topics {
		shards = append(shards, w.shards(t.image.State.Topics[name], next.Topics[name])...)
	}
	last := append(w.last(t.image.State, next, d), w.put(keyLineage, nil, lineage))
	if w.err != nil {
		return w.err
	}
	parts := store.Split(shards)
	if all := slices.Concat(shards, last); len(store.Split(all)) == 1 {
		parts = [][]store.Op{all}
	} else {
		parts = append(parts, last)
	}
	for _, ops := range parts {
		if err := t.commit(w.stamp, ops); err != nil {
			return err
		}
	}
	return nil
}

// commit runs one fenced transaction until its outcome is known (C3, C4). An
// error that is not ErrUnknown says that nothing was applied.
func (t *term) commit(stamp store.Stamp, ops []store.Op) error {
	unsure := error(nil) // of an attempt before, which may still go through
	for range commitAttempts {
		index, err := t.c.store.Commit(t.ctx, t.lease.Fence(), ops)
		if err == nil {
			t.note(ops, index)
			return nil
		}
		if !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrConflict) {
			return errors.Join(err, unsure)
		}
		// A conflict may be with an earlier attempt of ours that went through.
		index, done, readErr := t.outcome(stamp, ops[0])
		switch {
		case readErr != nil:
			return fmt.Errorf("%w: and then: %w", errors.Join(err, unsure), readErr)
		case done:
			t.note(ops, index)
			return nil
		case errors.Is(err, store.ErrConflict):
			return err
		}
		unsure = err
	}
	return unsure
}

// outcome reads whether the transaction that op is of was applied. A store
// that cannot be read just now is asked again while the lease is held.
func (t *term) outcome(stamp store.Stamp, op store.Op) (index int64, done bool, err error) {
	pairs, err := t.c.store.List(t.ctx, op.Key)
	for err != nil && t.ctx.Err() == nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, store.ErrDamaged) {
		t.c.sleep(t.ctx, outcomePause)
		pairs, err = t.c.store.List(t.ctx, op.Key)
	}
	if err != nil {
		return 0, false, err
	}
	i := slices.IndexFunc(pairs, func(p store.Pair) bool { return p.Key == op.Key })
	if op.Kind == store.DeleteCAS {
		return 0, i < 0, nil
	}
	if i < 0 {
		return 0, false, nil
	}
	written, _, _, err := store.Unseal(op.Key, pairs[i].Value)
	return pairs[i].Index, err == nil && written == stamp, err
}

func (t *term) note(ops []store.Op, index int64) {
	for _, op := range ops {
		if op.Kind == store.DeleteCAS {
			delete(t.index, op.Key)
		} else {
			t.index[op.Key] = index
		}
	}
}

// cleanUp removes the shards of deleted topics, which no root claims any more.
func (t *term) cleanUp(d cluster.Delta) {
	for _, id := range d.Deleted {
		t.sweep(slices.Sorted(func(yield func(string) bool) {
			for key := range maps.Keys(t.index) {
				if strings.HasPrefix(key, topicKey(id)) && !yield(key) {
					return
				}
			}
		}))
	}
}

// sweep removes keys that mean nothing.
func (t *term) sweep(keys []string) {
	w := t.writer()
	ops := make([]store.Op, len(keys))
	for i, key := range keys {
		ops[i] = w.remove(key)
	}
	for _, part := range store.Split(ops) {
		if err := t.commit(w.stamp, part); err != nil {
			t.failed = fmt.Errorf("sweep metadata: %w", err)
			return
		}
	}
}
