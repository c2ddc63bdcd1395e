package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// RegisterNode grants an epoch to one start of a node; it begins fenced (N4).
// What its replicas can be trusted with is told apart by evidence (N3).
type RegisterNode struct {
	NodeID        int32
	Incarnation   string // random name of the start
	PreviousEpoch int64  // of the start before, known to have ended; or 0
	Address       string
	Rack          string
	// SameBoot: only the process died, so all that was written is there (N3a).
	SameBoot bool
	// NoData: the node holds nothing of this cluster.
	NoData bool
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
	if err := checkText("address", c.Incarnation, c.Address, c.Rack); err != nil {
		return err
	}
	old := s.Nodes[c.NodeID]
	if old != nil && s.Incarnations[c.NodeID] == c.Incarnation {
		return c.repeat(s, d, old)
	}
	// Proof that the old incarnation has ended, or else only fencing, lets the
	// next one in (N1).
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
		NodeId: c.NodeID, NodeEpoch: s.LastNodeEpoch, Address: c.Address, Rack: c.Rack, Fenced: true, Evacuating: old.GetEvacuating(),
	})
	s.settleAll(d, func(t *metadatav1.TopicState, p *metadatav1.PartitionState) goal {
		if old == nil || c.keeps(t, old) || !slices.Contains(p.Isr, c.NodeID) && !slices.Contains(p.Elr, c.NodeID) {
			return goal{}
		}
		return goal{lost: []int32{c.NodeID}}
	})
	return nil
}

// keeps tells whether the node still has what its replicas of t wrote (N3). Of
// a durable topic it does, unless recovery finds otherwise and reports it: only
// what was fsynced ever counted.
func (c RegisterNode) keeps(t *metadatav1.TopicState, old *metadatav1.NodeState) bool {
	switch {
	case c.NoData:
		return false
	case c.SameBoot || c.PreviousEpoch == old.NodeEpoch:
		return true
	}
	return t.Configs["moldau.durability"] != "relaxed"
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

// FenceNode takes a node out of service: it leads nothing and is in sync
// nowhere.
type FenceNode struct{ NodeID int32 }

func (c FenceNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Fenced = true })
}

// UnfenceNode puts a node into service.
type UnfenceNode struct{ NodeID int32 }

func (c UnfenceNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Fenced = false })
}

// ShutDownNode moves leaderships off a node that shuts down and takes it out of
// all in-sync replicas (N5, KIP-841). Only its next registration ends that.
type ShutDownNode struct{ NodeID int32 }

func (c ShutDownNode) apply(s *State, d *Delta) error {
	return s.changeNode(d, c.NodeID, func(n *metadatav1.NodeState) { n.Draining = true })
}

func (s *State) changeNode(d *Delta, id int32, change func(*metadatav1.NodeState)) error {
	old, err := s.node(id)
	if err != nil {
		return err
	}
	next := copyNode(old)
	change(next)
	if next.Fenced == old.Fenced && next.Draining == old.Draining {
		return nil
	}
	s.putNode(d, next)
	s.settleNodes(d)
	return nil
}

// RemoveNode forgets a node that is fenced and holds no replica.
type RemoveNode struct{ NodeID int32 }

func (c RemoveNode) apply(s *State, d *Delta) error {
	old, err := s.node(c.NodeID)
	if err != nil {
		return err
	}
	if !old.Fenced {
		return errcode.New(errcode.PolicyViolation, "node %d is in service", c.NodeID).WithField("node_id").
			WithHint("Drain the node, then stop it, then remove it.")
	}
	if n := s.ReplicasOn(c.NodeID); n > 0 {
		return errcode.New(errcode.PolicyViolation, "node %d holds %d replicas", c.NodeID, n).WithField("node_id").With("replicas_left", n).
			WithHint("Drain the node first, while it runs.")
	}
	s.Nodes, s.Incarnations = maps.Clone(s.Nodes), maps.Clone(s.Incarnations)
	delete(s.Nodes, c.NodeID)
	delete(s.Incarnations, c.NodeID)
	d.Nodes = append(d.Nodes, c.NodeID)
	return nil
}

// ReplicasOn counts the replicas that a node holds or is to hold.
func (s *State) ReplicasOn(node int32) (n int) {
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, node) {
				n++
			}
		}
	}
	return n
}

func (s *State) node(id int32) (*metadatav1.NodeState, error) {
	if n := s.Nodes[id]; n != nil {
		return n, nil
	}
	return nil, errcode.New(errcode.UnknownNode, "node %d is not registered", id).WithField("node_id").WithHint("Register it first.")
}

// CheckNodeEpoch tells whether a node speaks that was granted its epoch and has
// not been registered again since.
func (s *State) CheckNodeEpoch(id int32, epoch int64) error {
	n, err := s.node(id)
	switch {
	case err != nil:
		return err
	case epoch > n.NodeEpoch:
		return errcode.New(errcode.MetadataRegressed, "node %d has epoch %d, higher than any that was granted", id, epoch).With("node_epoch", n.NodeEpoch)
	case epoch < n.NodeEpoch:
		return errcode.New(errcode.StaleNodeEpoch, "node %d was registered again since its epoch %d", id, epoch).
			WithField("node_epoch").With("node_epoch", n.NodeEpoch).WithHint("Stop, or register again.")
	}
	return nil
}

func copyNode(n *metadatav1.NodeState) *metadatav1.NodeState {
	return &metadatav1.NodeState{
		NodeId: n.NodeId, NodeEpoch: n.NodeEpoch, Address: n.Address, Rack: n.Rack,
		Fenced: n.Fenced, Draining: n.Draining, Evacuating: n.Evacuating,
	}
}
