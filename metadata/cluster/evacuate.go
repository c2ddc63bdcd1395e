package cluster

import (
	"maps"
	"slices"

	"moldau.dev/services/errcode"
)

// EvacuateNode says that all replicas shall leave a node, or, with Undo, that
// they may stay. PlanMoves does the rest.
type EvacuateNode struct {
	NodeID int32
	Undo   bool
}

func (c EvacuateNode) apply(s *State, d *Delta) error {
	old, err := s.node(c.NodeID)
	if err != nil || old.Evacuating == !c.Undo {
		return err
	}
	if !c.Undo {
		if err := s.checkEvacuation(c.NodeID); err != nil {
			return err
		}
	}
	next := copyNode(old)
	next.Evacuating = !c.Undo
	s.putNode(d, next)
	if c.Undo {
		s.comeBack(d, c.NodeID)
	}
	return nil
}

// checkEvacuation tells whether enough other nodes are there for every
// partition.
func (s *State) checkEvacuation(node int32) error {
	others := 0
	for id, n := range s.Nodes {
		if id != node && !n.Evacuating {
			others++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		for i, p := range s.Topics[name].Partitions {
			if slices.Contains(p.Replicas, node) && len(homes(p)) > others {
				return errcode.New(errcode.PolicyViolation, "node %d cannot be drained: %s-%d keeps %d replicas and %d other nodes would be left", node, name, i, len(homes(p)), others).
					WithField("node_id").WithHint("Add a node first, or reassign the partition to fewer replicas.")
			}
		}
	}
	return nil
}

// comeBack cancels the moves off a node, but for those that can only go on.
func (s *State) comeBack(d *Delta, node int32) {
	e := s.edit(d)
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		t := s.Topics[name]
		for i, p := range t.Partitions {
			if slices.Contains(p.Removing, node) && !slices.Contains(p.Adding, node) {
				_, _ = s.cancelMove(e, t, i)
			}
		}
	}
}

// evacuating lists the nodes that replicas shall leave.
func (s *State) evacuating() []int32 {
	var out []int32
	for _, id := range slices.Sorted(maps.Keys(s.Nodes)) {
		if s.Nodes[id].Evacuating {
			out = append(out, id)
		}
	}
	return out
}
