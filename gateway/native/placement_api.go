package native

import (
	"context"
	"slices"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// ListReassignments lists the partitions that move.
func (s *Server) ListReassignments(ctx context.Context, req *moldauv1.ListReassignmentsRequest) (*moldauv1.ListReassignmentsResponse, error) {
	if err := s.reach(ctx, req.GetMinRevision()); err != nil {
		return nil, err
	}
	all := s.sortedNames()
	resp := &moldauv1.ListReassignmentsResponse{Origin: &moldauv1.Origin{ClusterId: all.view.ClusterID, Revision: all.view.Revision}}
	for _, name := range all.names {
		for i := range all.view.Topics[name].Partitions {
			if p := &all.view.Topics[name].Partitions[i]; len(p.Adding)+len(p.Removing) > 0 {
				resp.Reassignments = append(resp.Reassignments, &moldauv1.Reassignment{
					Topic: name, Partition: int32(i), ReplicaIds: p.Replicas,
					AddingReplicaIds: p.Adding, RemovingReplicaIds: p.Removing, InSyncReplicaIds: p.ISR,
				})
			}
		}
	}
	return resp, nil
}

// Reassign begins to move partitions.
func (s *Server) Reassign(ctx context.Context, req *moldauv1.ReassignRequest) (*moldauv1.ReassignResponse, error) {
	if n := len(req.GetPlacements()); n < 1 || n > maxPartitions {
		return nil, invalid("placements", "%d partitions, 1 to %d are allowed", n, maxPartitions)
	}
	results, revision, err := s.reassign(ctx, req.GetPlacements(), req.GetValidateOnly(), func(_ *metadataclient.Partition, p *moldauv1.PartitionPlacement) error {
		if len(p.GetReplicaIds()) == 0 { // which would cancel
			return errcode.New(errcode.InvalidReplicaAssignment, "a partition has at least one replica").WithField("replica_ids")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &moldauv1.ReassignResponse{Results: results, Origin: s.originAt(revision)}, nil
}

// CancelReassignments takes partitions back to where they were.
func (s *Server) CancelReassignments(ctx context.Context, req *moldauv1.CancelReassignmentsRequest) (*moldauv1.CancelReassignmentsResponse, error) {
	if n := len(req.GetPartitions()); n > maxPartitions {
		return nil, invalid("partitions", "%d partitions, at most %d are allowed", n, maxPartitions)
	}
	var ask []*moldauv1.PartitionPlacement
	for _, p := range req.GetPartitions() {
		ask = append(ask, &moldauv1.PartitionPlacement{Topic: p.GetTopic(), Partition: p.GetPartition()})
	}
	if len(ask) == 0 {
		moves, err := s.ListReassignments(ctx, &moldauv1.ListReassignmentsRequest{})
		if err != nil {
			return nil, err
		}
		for _, m := range moves.GetReassignments() {
			ask = append(ask, &moldauv1.PartitionPlacement{Topic: m.GetTopic(), Partition: m.GetPartition()})
		}
	}
	results, revision, err := s.reassign(ctx, ask, req.GetValidateOnly(), func(now *metadataclient.Partition, _ *moldauv1.PartitionPlacement) error {
		if len(now.Adding)+len(now.Removing) == 0 {
			return errcode.New(errcode.NoReassignment, "the partition does not move")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &moldauv1.CancelReassignmentsResponse{Results: results, Origin: s.originAt(revision)}, nil
}

// reassign asks metadata for what passes check, and answers for each placement.
func (s *Server) reassign(
	ctx context.Context, placements []*moldauv1.PartitionPlacement, validateOnly bool,
	check func(now *metadataclient.Partition, p *moldauv1.PartitionPlacement) error,
) ([]*moldauv1.PartitionChange, int64, error) {
	results := make([]*moldauv1.PartitionChange, len(placements))
	ask := &metadatav1.AlterReassignmentsRequest{ValidateOnly: validateOnly}
	var asked []int
	for i, p := range placements {
		results[i] = &moldauv1.PartitionChange{Topic: p.GetTopic(), Partition: p.GetPartition(), LeaderId: -1}
		t, now, err := s.partition(p.GetTopic(), p.GetPartition())
		if err == nil {
			results[i].LeaderId, results[i].ReplicaIds = now.Leader, now.Replicas
			err = check(now, p)
		}
		if err != nil {
			results[i].Error = rangeError(err, nil)
			continue
		}
		asked = append(asked, i)
		ask.Reassignments = append(ask.Reassignments, &metadatav1.Reassignment{TopicId: t.ID[:], Partition: p.GetPartition(), Replicas: p.GetReplicaIds()})
	}
	if len(asked) == 0 {
		return results, 0, nil
	}
	resp, err := s.meta.AlterReassignments(ctx, ask)
	if err != nil {
		return nil, 0, err
	}
	if len(resp.GetResults()) != len(asked) {
		return nil, 0, errcode.New(errcode.Internal, "metadata answered for %d partitions of %d", len(resp.GetResults()), len(asked))
	}
	for i, r := range resp.GetResults() {
		changed(results[asked[i]], r.GetState(), r.GetError())
	}
	s.follow(ctx, resp.GetRevision(), validateOnly)
	return results, resp.GetRevision(), nil
}

// partition finds a partition of the present view.
func (s *Server) partition(topic string, index int32) (*metadataclient.Topic, *metadataclient.Partition, error) {
	t, err := s.topic(topic, "topic")
	if err != nil {
		return nil, nil, err
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil, nil, errcode.New(errcode.UnknownPartition, "%s has no partition %d", topic, index).WithField("partition")
	}
	return t, &t.Partitions[index], nil
}

// changed notes what metadata says of one partition.
func changed(to *moldauv1.PartitionChange, state *metadatav1.PartitionState, refused *metadatav1.ReplicaError) {
	if state != nil {
		to.LeaderId, to.ReplicaIds = state.GetLeader(), state.GetReplicas()
	}
	if refused.GetReason() == "" {
		return
	}
	reason, known := errcode.ParseReason(refused.GetReason())
	if !known {
		reason = errcode.Internal
	}
	to.Error = rangeError(errcode.New(reason, "%s", refused.GetMessage()), nil)
}

// Rebalance spreads leaders and replicas evenly.
func (s *Server) Rebalance(ctx context.Context, req *moldauv1.RebalanceRequest) (*moldauv1.RebalanceResponse, error) {
	resp, err := s.meta.Rebalance(ctx, &metadatav1.RebalanceRequest{ValidateOnly: req.GetValidateOnly()})
	if err != nil {
		return nil, err
	}
	s.follow(ctx, resp.GetRevision(), req.GetValidateOnly())
	out := &moldauv1.RebalanceResponse{LeadersMoved: resp.GetLeadersMoved(), Origin: s.originAt(resp.GetRevision())}
	for _, m := range resp.GetReassignments() {
		out.Placements = append(out.Placements, &moldauv1.PartitionPlacement{
			Topic: s.nameOf(m.GetTopicId()), Partition: m.GetPartition(), ReplicaIds: m.GetReplicas(),
		})
	}
	return out, nil
}

// nameOf is a topic's name in the present view, or its id where it has none.
func (s *Server) nameOf(id []byte) string {
	parsed, err := topicid.FromBytes(id)
	if err != nil {
		return ""
	}
	if t := s.meta.View().TopicsByID[parsed]; t != nil {
		return t.Name
	}
	return parsed.String()
}

// ElectLeaders makes preferred leaders lead, or ones that lose records.
func (s *Server) ElectLeaders(ctx context.Context, req *moldauv1.ElectLeadersRequest) (*moldauv1.ElectLeadersResponse, error) {
	n := len(req.GetElections())
	if n > maxPartitions {
		return nil, invalid("elections", "%d partitions, at most %d are allowed", n, maxPartitions)
	}
	if n == 0 && req.GetUnclean() {
		return nil, invalid("elections", "an election with loss names its partitions")
	}
	ask := &metadatav1.ElectLeadersRequest{Unclean: req.GetUnclean()}
	var results []*moldauv1.PartitionChange
	var asked []int
	for i, e := range req.GetElections() {
		results = append(results, &moldauv1.PartitionChange{Topic: e.GetTopic(), Partition: e.GetPartition(), LeaderId: -1})
		t, now, err := s.partition(e.GetTopic(), e.GetPartition())
		if err == nil {
			results[i].LeaderId, results[i].ReplicaIds = now.Leader, now.Replicas
			err = mayElect(now, e, req.GetUnclean())
		}
		if err != nil {
			results[i].Error = rangeError(err, nil)
			continue
		}
		replica := int32(-1)
		if e.ReplicaId != nil {
			replica = e.GetReplicaId()
		}
		asked = append(asked, i)
		ask.Elections = append(ask.Elections, &metadatav1.LeaderElection{TopicId: t.ID[:], Partition: e.GetPartition(), Replica: replica})
	}
	if n > 0 && len(asked) == 0 {
		return &moldauv1.ElectLeadersResponse{Results: results, Origin: s.origin()}, nil
	}
	resp, err := s.meta.ElectLeaders(ctx, ask)
	if err != nil {
		return nil, err
	}
	if n > 0 && len(resp.GetResults()) != len(asked) {
		return nil, errcode.New(errcode.Internal, "metadata answered for %d partitions of %d", len(resp.GetResults()), len(asked))
	}
	for i, r := range resp.GetResults() {
		if n == 0 {
			results = append(results, &moldauv1.PartitionChange{Topic: s.nameOf(r.GetTopicId()), Partition: r.GetPartition(), LeaderId: -1})
			asked = append(asked, i)
		}
		changed(results[asked[i]], r.GetState(), r.GetError())
	}
	s.follow(ctx, resp.GetRevision(), false)
	return &moldauv1.ElectLeadersResponse{Results: results, Origin: s.originAt(resp.GetRevision())}, nil
}

func mayElect(now *metadataclient.Partition, e *moldauv1.LeaderElection, unclean bool) error {
	switch {
	case e.ReplicaId == nil:
		return nil
	case !unclean:
		return invalid("replica_id", "only an election with loss names the replica")
	case !slices.Contains(now.Replicas, e.GetReplicaId()):
		return errcode.New(errcode.InvalidReplicaAssignment, "node %d holds no replica of %s[%d]", e.GetReplicaId(), e.GetTopic(), e.GetPartition()).WithField("replica_id")
	}
	return nil
}
