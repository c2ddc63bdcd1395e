package cluster

import (
	"maps"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// RegisterNode grants an epoch to one start of a node; it begins fenced (N4).
type RegisterNode struct {
	NodeID        int32
	Incarnation   string // random name of the start
	PreviousEpoch int64  // from the clean-shutdown file, or 0
	Address       string
	Rack          string
}

func (c RegisterNode) apply(s *State, d *Delta) error {
	if c.NodeID < 0 {
		return errcode.New(errcode.InvalidArgument, "node id %d is negative", c.NodeID).WithField("node_id")
	}
	if c.Incarnation == "" {
		return errcode.New(errcode.InvalidArgument, "a node must name its incarnation").WithField("incarnation")
	}
	if c.Address == "" {
		return errcode.New(errcode.InvalidArgument, "a node must say where it listens").WithField("address")
	}
	old := s.Nodes[c.NodeID]
	if old != nil && s.Incarnations[c.NodeID] == c.Incarnation {
		return c.repeat(s, d, old)
	}
	// Its own clean-shutdown file proves that the old incarnation has ended;
	// otherwise only fencing does (N1).
	if old != nil && !old.Fenced && c.PreviousEpoch != old.NodeEpoch {
		return errcode.New(errcode.NodeUnavailable, "node %d is registered by another incarnation that is still alive", c.NodeID).
			WithField("node_id").With("node_epoch", old.NodeEpoch).
			WithHint("Retry: it is fenced once its heartbeats stop. If they do not stop, two nodes share one id.")
	}
	s.LastNodeEpoch++
	d.NodeEpochs = true
	s.Incarnations = maps.Clone(s.Incarnations)
	s.Incarnations[c.NodeID] = c.Incarnation
	s.putNode(d, &metadatav1.NodeState{
		NodeId: c.NodeID, NodeEpoch: s.LastNodeEpoch, Address: c.Address, Rack: c.Rack, Fenced: true,
	})
	s.electAll(d)
	return nil
}

// repeat keeps the epoch of an incarnation that asks again.
func (c RegisterNode) repeat(s *State, d *Delta, old *metadatav1.NodeState) error {
	if old.Address == c.Address && old.Rack == c.Rack {
		return nil
	}
	next := copyNode(old)
	next.Address, next.Rack = c.Address, c.Rack
	s.putNode(d, next)
	return nil
}

// FenceNode takes a node out of service: it leads nothing and leaves each ISR
// that has another member.
type FenceNode struct{ NodeID int32 }

func (c FenceNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Fenced = true })
}

// UnfenceNode puts a node into service.
type UnfenceNode struct{ NodeID int32 }

func (c UnfenceNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Fenced = false })
}

// DrainNode moves leaderships off a node that shuts down (N5). Only its next
// registration ends that.
type DrainNode struct{ NodeID int32 }

func (c DrainNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Draining = true })
}

func (s *State) changeNode(d *Delta, id int32, change func(*metadatav1.NodeState)) error {
	old := s.Nodes[id]
	if old == nil {
		return errcode.New(errcode.InvalidArgument, "node %d is not registered", id).WithField("node_id").WithHint("Register it first.")
	}
	next := copyNode(old)
	change(next)
	if next.Fenced == old.Fenced && next.Draining == old.Draining {
		return nil
	}
	s.putNode(d, next)
	s.electAll(d)
	return nil
}

// AllocateProducerIDs takes the block [NextProducerID, NextProducerID+Count).
type AllocateProducerIDs struct{ Count int32 }

func (c AllocateProducerIDs) apply(s *State, d *Delta) error {
	if c.Count < 1 || c.Count > MaxProducerIDs {
		return errcode.New(errcode.InvalidArgument, "%d producer ids are not within 1 to %d", c.Count, MaxProducerIDs).WithField("count")
	}
	s.NextProducerID += int64(c.Count)
	d.ProducerIDs = true
	return nil
}

func copyNode(n *metadatav1.NodeState) *metadatav1.NodeState {
	return &metadatav1.NodeState{
		NodeId: n.NodeId, NodeEpoch: n.NodeEpoch, Address: n.Address, Rack: n.Rack,
		Fenced: n.Fenced, Draining: n.Draining,
	}
}
