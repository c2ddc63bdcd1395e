package cluster

import (
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// AlterPartitions changes in-sync replicas as a leader asks (R7, R9). Each
// partition succeeds or fails alone.
type AlterPartitions struct {
	NodeID     int32
	NodeEpoch  int64
	Partitions []*metadatav1.AlterPartition
	// Results, by partition, in the order asked; set by Apply.
	Results []*metadatav1.AlterPartitionResult
}

func (c *AlterPartitions) apply(s *State, d *Delta) error {
	c.Results = nil
	if err := s.CheckNodeEpoch(c.NodeID, c.NodeEpoch); err != nil {
		return err
	}
	e := s.edit(d)
	for _, ask := range c.Partitions {
		t, p, err := e.find(ask.GetTopicId(), ask.GetPartition())
		if err == nil {
			err = c.check(s, p, ask)
		}
		if err == nil {
			isr := make([]int32, len(ask.GetIsr()))
			for i, m := range ask.GetIsr() {
				isr[i] = m.GetNodeId()
			}
			old := p
			p = e.settle(t, int(ask.GetPartition()), goal{isr: isr, recovered: !ask.GetRecovering()})
			if p == old {
				p = e.touch(t, int(ask.GetPartition()))
			}
		}
		c.Results = append(c.Results, &metadatav1.AlterPartitionResult{Error: replicaError(err), State: p})
	}
	return nil
}

// check is R9, in Kafka's order.
func (c *AlterPartitions) check(s *State, p *metadatav1.PartitionState, ask *metadatav1.AlterPartition) error {
	switch {
	case ask.GetLeaderEpoch() > p.LeaderEpoch || ask.GetPartitionEpoch() > p.PartitionEpoch:
		return errcode.New(errcode.NotController, "the leader knows leader epoch %d and partition epoch %d, newer than %d and %d here",
			ask.GetLeaderEpoch(), ask.GetPartitionEpoch(), p.LeaderEpoch, p.PartitionEpoch)
	case ask.GetLeaderEpoch() < p.LeaderEpoch:
		return errcode.New(errcode.FencedLeaderEpoch, "the leader epoch is %d, not %d", p.LeaderEpoch, ask.GetLeaderEpoch())
	case p.Leader != c.NodeID:
		return errcode.New(errcode.InvalidArgument, "node %d leads, not %d", p.Leader, c.NodeID)
	case ask.GetPartitionEpoch() < p.PartitionEpoch:
		return errcode.New(errcode.InvalidUpdateVersion, "the partition epoch is %d, not %d", p.PartitionEpoch, ask.GetPartitionEpoch())
	case ask.GetRecovering() && len(ask.GetIsr()) > 1:
		return errcode.New(errcode.InvalidArgument, "a leader that recovers is alone in sync")
	case ask.GetRecovering() && !p.Recovering:
		return errcode.New(errcode.InvalidArgument, "a leader that was not chosen with loss does not recover")
	}
	var members []int32
	for _, m := range ask.GetIsr() {
		if !slices.Contains(p.Replicas, m.GetNodeId()) || slices.Contains(members, m.GetNodeId()) {
			return errcode.New(errcode.InvalidArgument, "node %d is no replica, or named twice", m.GetNodeId())
		}
		members = append(members, m.GetNodeId())
	}
	if !slices.Contains(members, p.Leader) {
		return errcode.New(errcode.InvalidArgument, "the leader is not in sync with itself")
	}
	for _, m := range ask.GetIsr() {
		if err := s.eligible(m); err != nil {
			return err
		}
	}
	return nil
}

// eligible tells whether an incarnation of a replica may be in sync (KIP-841,
// KIP-903).
func (s *State) eligible(m *metadatav1.InSyncReplica) error {
	n := s.Nodes[m.GetNodeId()]
	bad := func(why string) error {
		return errcode.New(errcode.IneligibleReplica, "node %d %s", m.GetNodeId(), why)
	}
	switch {
	case n == nil:
		return bad("is not registered")
	case n.Draining:
		return bad("is shutting down")
	case n.Fenced:
		return bad("is fenced")
	case n.NodeEpoch != m.GetNodeEpoch():
		return bad("was registered again since the session that the evidence is from")
	}
	return nil
}

// replicaError is err as answers carry it, nil for nil.
func replicaError(err error) *metadatav1.ReplicaError {
	if err == nil {
		return nil
	}
	e := errcode.Of(err)
	return &metadatav1.ReplicaError{Reason: string(e.Reason), Message: e.Message}
}

// ReportReplicas takes replicas that a node found damaged or short out of the
// in-sync and the eligible ones, before it serves (N3, N6). Each gets a new leader
// epoch: the leader may be about to propose the replica for what it said of its
// log before, and the node may then replace that log by an empty one.
type ReportReplicas struct {
	NodeID    int32
	NodeEpoch int64
	Replicas  []*metadatav1.SuspectReplica
}

func (c ReportReplicas) apply(s *State, d *Delta) error {
	if err := s.CheckNodeEpoch(c.NodeID, c.NodeEpoch); err != nil {
		return err
	}
	e := s.edit(d)
	for _, r := range c.Replicas {
		t, p, err := e.find(r.GetTopicId(), r.GetPartition())
		if err != nil || !slices.Contains(p.Replicas, c.NodeID) {
			continue // deleted or moved away meanwhile
		}
		e.settle(t, int(r.GetPartition()), goal{lost: []int32{c.NodeID}, anew: true})
	}
	return nil
}
