package controller

import (
	"context"
	"slices"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// buriedAtOnce bounds the tombstones that one change forgets.
const buriedAtOnce = 20

// RegisterNode grants an epoch to one start of a node, which has seen metadata
// as far as seen (C11).
func (c *Controller) RegisterNode(ctx context.Context, change cluster.RegisterNode, clusterID string, seen *metadatav1.Position) (*metadatav1.NodeState, *Image, error) {
	image, err := ask(ctx, c, func(t *term) (*Image, error) {
		if clusterID != "" && clusterID != t.image.State.ClusterID {
			return nil, errcode.New(errcode.InvalidArgument, "the data of node %d belongs to cluster %s, but this is %s", change.NodeID, clusterID, t.image.State.ClusterID).
				WithField("cluster_id").WithHint("Point the node at its own cluster, or give it an empty folder.")
		}
		if err := t.checkSeen(seen); err != nil {
			return nil, err
		}
		if err := t.apply(change); err != nil {
			return nil, t.whenToRetry(change.NodeID, err)
		}
		t.nodes.beat(change.NodeID, c.clk.Now())
		t.registered[change.NodeID] = t.image.Revision
		delete(t.leaving, change.NodeID)
		return t.image, nil
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
	left := t.c.cfg.FenceTimeout - t.nodes.silent(node, t.c.clk.Now())
	return e.WithRetryAfter(max(left, t.c.cfg.FenceTimeout/8))
}

// Beat is a node's sign of life.
type Beat struct {
	NodeID    int32
	NodeEpoch int64
	Revision  int64 // that its view has reached
	Ready     bool
	Draining  bool
	// Deleted topics of which the node holds nothing any more.
	Deleted []topicid.ID
}

// Heard is what a node hears after its sign of life.
type Heard struct {
	Fenced   bool // one that drains may stop once it is
	Revision int64
}

// Heartbeat notes a sign of life, puts a ready node into service and takes a
// draining one out of it.
func (c *Controller) Heartbeat(ctx context.Context, b Beat) (Heard, error) {
	at := c.clk.Now() // when it came, not when the loop got to it
	return ask(ctx, c, func(t *term) (Heard, error) {
		if err := t.image.State.CheckNodeEpoch(b.NodeID, b.NodeEpoch); err != nil {
			return Heard{}, err
		}
		t.nodes.beat(b.NodeID, at)
		t.seen[b.NodeID] = b.Revision
		if err := t.follow(b); err != nil {
			return Heard{}, err
		}
		if err := t.forget(b); err != nil {
			return Heard{}, err
		}
		return Heard{Fenced: t.image.State.Nodes[b.NodeID].Fenced, Revision: t.image.Revision}, t.proven()
	})
}

func (t *term) follow(b Beat) error {
	n := t.image.State.Nodes[b.NodeID]
	switch {
	case b.Draining:
		return t.shutDown(n)
	case b.Ready && n.Fenced && !n.Draining && b.Revision >= t.registered[b.NodeID]:
		return t.apply(cluster.UnfenceNode{NodeID: b.NodeID})
	}
	return nil
}

// shutDown takes a node out of all in-sync replicas at once, and fences it when
// all other live nodes have seen that (N5).
func (t *term) shutDown(n *metadatav1.NodeState) error {
	if n.Fenced && n.Draining {
		return nil
	}
	if err := t.apply(cluster.ShutDownNode{NodeID: n.NodeId}); err != nil {
		return err
	}
	if _, known := t.leaving[n.NodeId]; !known {
		t.leaving[n.NodeId] = t.image.Revision
	}
	for id := range t.image.State.Nodes {
		if id != n.NodeId && t.image.State.Live(id) && t.seen[id] < t.leaving[n.NodeId] {
			return nil
		}
	}
	return t.apply(cluster.FenceNode{NodeID: n.NodeId})
}

// forget notes of which deleted topics a node holds nothing any more, and
// forgets those of which no node holds anything.
func (t *term) forget(b Beat) error {
	var gone []topicid.ID
	for _, id := range b.Deleted {
		if t.image.State.Tombstones[id] == nil {
			continue
		}
		clean := t.deleted[id]
		if clean == nil {
			clean = map[int32]bool{}
			t.deleted[id] = clean
		}
		clean[b.NodeID] = true
		if t.allClean(clean) {
			gone = append(gone, id)
		}
	}
	return t.bury(gone)
}

func (t *term) allClean(clean map[int32]bool) bool {
	for id := range t.image.State.Nodes {
		if !clean[id] {
			return false
		}
	}
	return true
}

// bury forgets tombstones, as many at once as one transaction holds.
func (t *term) bury(ids []topicid.ID) error {
	for _, id := range ids {
		delete(t.deleted, id)
	}
	for part := range slices.Chunk(ids, buriedAtOnce) {
		if err := t.apply(cluster.ForgetTombstones{IDs: part}); err != nil {
			return err
		}
	}
	return nil
}
