package controller

import (
	"context"
	"fmt"
	"time"

	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// auditEvery is how often a term compares the store with what it wrote, where
// nothing tells it to do so earlier (C13).
const auditEvery = 5 * time.Minute

// CheckSeen ends the term, with METADATA_REGRESSED, where someone has seen a
// state that the store does not hold (C11). Nil positions pass.
func (c *Controller) CheckSeen(ctx context.Context, p *metadatav1.Position) error {
	if image := c.Image(); p == nil || image != nil && image.State.ClusterID == p.GetClusterId() && holds(image.Lineage, p) {
		return nil
	}
	return c.do(ctx, func(t *term) error { return t.checkSeen(p) })
}

func (t *term) checkSeen(p *metadatav1.Position) error {
	if id := t.image.State.ClusterID; p.GetRevision() > 0 && p.GetClusterId() != id {
		return errcode.New(errcode.InvalidArgument, "metadata of cluster %s was seen, but this is %s", p.GetClusterId(), id).WithField("seen.cluster_id")
	}
	if holds(t.image.Lineage, p) {
		return nil
	}
	t.failed = regressed(t.image.Lineage, p)
	t.c.mu.Lock()
	t.c.evidence.proof = p
	t.c.mu.Unlock()
	return t.failed
}

// proven returns an error unless the store has said just now that this term is
// the newest. An answer that a node's lease hangs on (R12) asks it last: whoever
// deposed this term waits a whole fence timeout before it fences anyone (C9),
// and the node trusts the answer for three quarters of that.
func (t *term) proven() error {
	if t.lease.HeldWithin(t.c.cfg.FenceTimeout / 4) {
		return nil
	}
	return errcode.New(errcode.ControllerUnavailable, "the controller cannot tell whether it still leads")
}

// watchStore audits as soon as the store's index goes back, until ctx ends.
func (t *term) watchStore(ctx context.Context) {
	var after int64
	for ctx.Err() == nil {
		index, err := t.c.store.Watch(ctx, "", after)
		if err != nil {
			t.c.sleep(ctx, time.Second)
			continue
		}
		if index < after {
			select {
			case t.inbox <- t.audit:
			case <-ctx.Done():
			}
		}
		after = index
	}
}

// audit compares the store with what this term knows to be in it. Nobody else
// writes there; so if they differ, it was restored or edited, and what this
// term would decide is void.
func (t *term) audit() {
	t.audited = t.c.clk.Now()
	pairs, err := t.c.store.List(t.ctx, "")
	if err != nil {
		return // the lease tells whether the store is there
	}
	if key := t.stranger(pairs); key != "" {
		t.failed = fmt.Errorf("the store was changed behind the controller, first at %s", key)
	}
}

// stranger returns a key that this term did not leave as it is, or "".
func (t *term) stranger(pairs []store.Pair) string {
	for _, p := range pairs {
		if t.index[p.Key] != p.Index {
			return p.Key
		}
	}
	if len(pairs) == len(t.index) {
		return ""
	}
	there := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		there[p.Key] = true
	}
	for key := range t.index {
		if !there[key] {
			return key
		}
	}
	return ""
}
