package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// epochShift leaves 2³² revisions to each term. A revision is the controller
// epoch and a count, so it grows across takeovers without being stored.
const epochShift = 32

// term is one term of leadership. All but done and inbox belong to the
// goroutine that runs loop.
type term struct {
	c     *Controller
	lease store.Lease
	inbox chan func()
	done  chan struct{} // closed once the loop has ended

	ctx    context.Context // of the lease: a commit outlives its caller (C6)
	image  *Image
	index  map[string]int64 // index in the store of every key of ours
	failed error            // ends the term

	lastTick time.Time
	audited  time.Time
	planned  time.Time // when moves were last looked for
	balanced time.Time

	nodes, gateways, coordinators *liveness

	registered map[int32]int64               // revision that a node must have seen to serve (N4)
	seen       map[int32]int64               // revision that a node has seen
	leaving    map[int32]int64               // revision that others must see before a node may stop (N5)
	superseded map[string]bool               // incarnations of gateways and coordinators that were started anew
	deleted    map[topicid.ID]map[int32]bool // nodes that hold nothing more of a deleted topic
}

func (t *term) loop(ctx context.Context) error {
	interval := t.c.cfg.FenceTimeout / 8
	tick := t.c.clk.NewTimer(interval)
	defer tick.Stop()
	t.reconcile()
	var watch sync.WaitGroup
	defer watch.Wait()
	watching, stop := context.WithCancel(t.ctx)
	defer stop()
	watch.Go(func() { t.watchStore(watching) })
	for t.failed == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.lease.Lost():
			return store.ErrDeposed
		case f := <-t.inbox:
			f()
		case <-tick.C():
			t.look()
			if t.c.clk.Since(t.audited) >= auditEvery {
				t.audit()
			}
			tick.Reset(interval)
		}
	}
	return t.failed
}

// reconcile finishes what the term before left half done.
func (t *term) reconcile() {
	if err := t.apply(cluster.Settle{}); err != nil {
		t.failed = err
	}
}

// apply decides a change, makes it durable and shows it.
func (t *term) apply(change cluster.Change) error {
	if t.failed != nil {
		return errcode.New(errcode.NotController, "the controller is about to start a new term")
	}
	next, delta, err := t.image.State.Apply(change)
	if err != nil || delta.Empty() {
		return err
	}
	lineage := reach(t.image.Lineage, t.image.Revision+1)
	if err := t.write(next, delta, lineage); err != nil {
		t.failed = fmt.Errorf("write %T: %w", change, err)
		return refusal(err)
	}
	t.image = &Image{State: next, Epoch: t.image.Epoch, Revision: t.image.Revision + 1, Lineage: lineage}
	t.c.publish(t.image)
	t.cleanUp(delta)
	return nil
}

// refusal is what a caller hears when the store did not take a change.
func refusal(err error) error {
	switch {
	case errors.Is(err, store.ErrUnknown):
		return errcode.Wrap(err, errcode.RequestTimedOut, "the metadata store did not say whether the change was kept").
			WithHint("Look whether it took effect before trying again.")
	case errors.Is(err, store.ErrDeposed), errors.Is(err, store.ErrConflict), errors.Is(err, context.Canceled):
		return errcode.Wrap(err, errcode.NotController, "another controller has taken over")
	}
	return errcode.Wrap(err, errcode.ControllerUnavailable, "the metadata store refused the change")
}
