package cluster

import (
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// AlterReassignments begins, changes or cancels moves (R17): a partition grows
// by the new replicas, and once all of them are in sync the others leave. Each
// partition succeeds or fails alone.
type AlterReassignments struct {
	Moves []*metadatav1.Reassignment
	// Results by partition, in the order asked; set by Apply.
	Results []*metadatav1.AlterPartitionResult
}

func (c *AlterReassignments) apply(s *State, d *Delta) error {
	c.Results = nil
	e := s.edit(d)
	for _, m := range c.Moves {
		t, p, err := e.find(m.GetTopicId(), m.GetPartition())
		switch {
		case err != nil:
		case len(m.GetReplicas()) == 0:
			p, err = s.cancelMove(e, t, int(m.GetPartition()))
		default:
			p, err = s.beginMove(e, t, int(m.GetPartition()), m.GetReplicas())
		}
		c.Results = append(c.Results, &metadatav1.AlterPartitionResult{Error: replicaError(err), State: p})
	}
	return nil
}

// homes are the replicas that a partition is to have once its move has ended.
func homes(p *metadatav1.PartitionState) []int32 {
	if len(p.Removing) == 0 {
		return p.Replicas
	}
	return without(p.Replicas, p.Removing)
}

func (s *State) beginMove(e *edits, t *metadatav1.TopicState, i int, target []int32) (*metadatav1.PartitionState, error) {
	old := t.Partitions[i]
	if err := s.checkReplicas(i, target); err != nil {
		return old, err
	}
	removing := without(old.Replicas, target)
	next := assignment{replicas: slices.Concat(target, removing), removing: removing}
	// What is there already stays, even if a former move is still adding it.
	before := without(old.Replicas, old.Adding)
	next.adding = without(next.replicas, before)
	return e.settle(t, i, goal{move: &next}), nil
}

// cancelMove takes a partition back to the replicas that it had. It is refused
// where those that stay would not be enough to keep what was committed.
func (s *State) cancelMove(e *edits, t *metadatav1.TopicState, i int) (*metadatav1.PartitionState, error) {
	old := t.Partitions[i]
	if len(old.Adding)+len(old.Removing) == 0 {
		return old, errcode.New(errcode.NoReassignment, "%s-%d is not being moved", t.Name, i)
	}
	left := len(without(old.Isr, old.Adding))
	if len(old.Isr) > 0 && left == 0 || left < int(minISR(old)) && len(old.Isr) >= int(minISR(old)) {
		return old, errcode.New(errcode.InvalidReplicaAssignment, "%s-%d cannot go back: only %d of the replicas that it had are in sync", t.Name, i, left).
			WithHint("Let the move finish, or move the partition to other nodes.")
	}
	if len(old.Isr) == 0 && len(old.Elr) > 0 && len(without(old.Elr, old.Adding)) == 0 {
		return old, errcode.New(errcode.InvalidReplicaAssignment, "%s-%d cannot go back: none of the replicas that it had has all records", t.Name, i).
			WithHint("Start the nodes that have: they are its eligible leader replicas.")
	}
	return e.settle(t, i, goal{move: &assignment{replicas: without(old.Replicas, old.Adding)}}), nil
}
