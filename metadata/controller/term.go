package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
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

	began      time.Time
	lastTick   time.Time
	audited    time.Time
	beats      map[int32]time.Time // last sign of life
	registered map[int32]int64     // revision that a node must have seen to serve (N4)
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
			t.fenceSilent()
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
	if err := t.apply(cluster.ElectLeaders{}); err != nil {
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

// fenceSilent fences nodes whose heartbeats stopped. A loop that was stalled
// itself saw no heartbeats either: it blames itself first (C9).
func (t *term) fenceSilent() {
	now := t.c.clk.Now()
	stalled := now.Sub(t.lastTick) > t.c.cfg.FenceTimeout/2
	t.lastTick = now
	if stalled {
		t.began = now
	}
	for _, id := range slices.Sorted(maps.Keys(t.image.State.Nodes)) {
		if t.image.State.Nodes[id].Fenced {
			continue
		}
		last := t.beats[id]
		if last.Before(t.began) {
			last = t.began // one whole timeout after a takeover or stall
		}
		if now.Sub(last) < t.c.cfg.FenceTimeout {
			continue
		}
		t.c.log.Warn("node is silent, fencing it", "node_id", id, "silent_for", now.Sub(last))
		if t.apply(cluster.FenceNode{NodeID: id}) != nil {
			return
		}
	}
}

// RegisterNode grants an epoch to one start of a node, which has seen metadata
// as far as seen (C11).
func (c *Controller) RegisterNode(ctx context.Context, change cluster.RegisterNode, clusterID string, seen *metadatav1.Position) (*metadatav1.NodeState, *Image, error) {
	var image *Image
	err := c.do(ctx, func(t *term) error {
		if clusterID != "" && clusterID != t.image.State.ClusterID {
			return errcode.New(errcode.InvalidArgument, "the data of node %d belongs to cluster %s, but this is %s", change.NodeID, clusterID, t.image.State.ClusterID).
				WithField("cluster_id").WithHint("Point the node at its own cluster, or give it an empty folder.")
		}
		if err := t.checkSeen(seen); err != nil {
			return err
		}
		if err := t.apply(change); err != nil {
			return t.whenToRetry(change.NodeID, err)
		}
		t.beats[change.NodeID] = c.clk.Now()
		t.registered[change.NodeID] = t.image.Revision
		image = t.image
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return image.State.Nodes[change.NodeID], image, nil
}

// whenToRetry tells a node that waits for its former self when that will be
// fenced.
func (t *term) whenToRetry(node int32, err error) error {
	e := errcode.Of(err)
	if e.Reason != errcode.NodeUnavailable {
		return err
	}
	last := t.beats[node]
	if last.Before(t.began) {
		last = t.began
	}
	left := t.c.cfg.FenceTimeout - t.c.clk.Since(last)
	return e.WithRetryAfter(max(left, t.c.cfg.FenceTimeout/8))
}

// Beat is a node's sign of life.
type Beat struct {
	NodeID    int32
	NodeEpoch int64
	Revision  int64 // that its view has reached
	Ready     bool
	Draining  bool
}

// Heartbeat notes a sign of life, puts a ready node into service and takes a
// draining one out of it. It returns whether the node is fenced.
func (c *Controller) Heartbeat(ctx context.Context, b Beat) (fenced bool, revision int64, err error) {
	at := c.clk.Now() // when it came, not when the loop got to it
	err = c.do(ctx, func(t *term) error {
		if err := t.checkBeat(b); err != nil {
			return err
		}
		t.beats[b.NodeID] = at
		if err := t.follow(b); err != nil {
			return err
		}
		fenced, revision = t.image.State.Nodes[b.NodeID].Fenced, t.image.Revision
		return t.proven()
	})
	return fenced, revision, err
}

func (t *term) checkBeat(b Beat) error {
	n := t.image.State.Nodes[b.NodeID]
	switch {
	case n == nil:
		return errcode.New(errcode.InvalidArgument, "node %d is not registered", b.NodeID).WithField("node_id").WithHint("Register it first.")
	case b.NodeEpoch > n.NodeEpoch:
		return errcode.New(errcode.MetadataRegressed, "node %d has epoch %d, higher than any that was granted", b.NodeID, b.NodeEpoch).
			With("node_epoch", n.NodeEpoch)
	case b.NodeEpoch < n.NodeEpoch:
		return errcode.New(errcode.InvalidArgument, "node %d was registered again since its epoch %d", b.NodeID, b.NodeEpoch).
			WithField("node_epoch").With("node_epoch", n.NodeEpoch).WithHint("Stop, or register again.")
	}
	return nil
}

func (t *term) follow(b Beat) error {
	n := t.image.State.Nodes[b.NodeID]
	switch {
	case b.Draining:
		if err := t.apply(cluster.DrainNode{NodeID: b.NodeID}); err != nil {
			return err
		}
		return t.apply(cluster.FenceNode{NodeID: b.NodeID})
	case b.Ready && n.Fenced && !n.Draining && b.Revision >= t.registered[b.NodeID]:
		return t.apply(cluster.UnfenceNode{NodeID: b.NodeID})
	}
	return nil
}
