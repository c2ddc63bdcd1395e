package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/topicid"
)

// maxPartitionsAtOnce bounds the partitions of one request.
const maxPartitionsAtOnce = 100_000

func checkCount(field string, n int) error {
	if n > maxPartitionsAtOnce {
		return errcode.New(errcode.InvalidArgument, "%d partitions are more than %d", n, maxPartitionsAtOnce).WithField(field)
	}
	return nil
}

// AlterPartitions implements MetadataService. A leader that does not hear the
// answer asks again at the same partition epoch: it is told INVALID_UPDATE_VERSION
// with the state that its first request made (R7).
func (s *Service) AlterPartitions(ctx context.Context, req *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error) {
	if err := checkCount("partitions", len(req.GetPartitions())); err != nil {
		return nil, err
	}
	change := &cluster.AlterPartitions{NodeID: req.GetNodeId(), NodeEpoch: req.GetNodeEpoch(), Partitions: req.GetPartitions()}
	image, err := s.controller.Change(ctx, func(*cluster.State) (cluster.Change, error) { return change, nil })
	if err != nil {
		return nil, err
	}
	return &metadatav1.AlterPartitionsResponse{Results: change.Results, Revision: image.Revision}, nil
}

// ReportReplicas implements MetadataService.
func (s *Service) ReportReplicas(ctx context.Context, req *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error) {
	if err := checkCount("replicas", len(req.GetReplicas())); err != nil {
		return nil, err
	}
	for _, r := range req.GetReplicas() {
		s.log.Warn("a replica cannot be trusted", telemetry.NodeID(req.GetNodeId()), telemetry.TopicID(idText(r.GetTopicId())),
			telemetry.Partition(r.GetPartition()), "why", r.GetWhy())
	}
	image, err := s.controller.Change(ctx, func(*cluster.State) (cluster.Change, error) {
		return cluster.ReportReplicas{NodeID: req.GetNodeId(), NodeEpoch: req.GetNodeEpoch(), Replicas: req.GetReplicas()}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.ReportReplicasResponse{Revision: image.Revision}, nil
}

// ElectLeaders implements MetadataService. An election with loss is noted in the
// log and in the metrics (R13).
func (s *Service) ElectLeaders(ctx context.Context, req *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error) {
	if err := checkCount("elections", len(req.GetElections())); err != nil {
		return nil, err
	}
	change := &cluster.ElectLeaders{Elections: req.GetElections(), Unclean: req.GetUnclean()}
	image, err := s.change(ctx, false, func(*cluster.State) (cluster.Change, error) { return change, nil })
	if err != nil {
		return nil, err
	}
	for _, r := range change.Results {
		if req.GetUnclean() && r.GetError() == nil {
			s.unclean.Inc()
			s.log.Warn("audit: an operator elected a leader that may lack records", telemetry.TopicID(idText(r.GetTopicId())),
				telemetry.Partition(r.GetPartition()), telemetry.NodeID(r.GetState().GetLeader()), telemetry.LeaderEpoch(r.GetState().GetLeaderEpoch()))
		}
	}
	return &metadatav1.ElectLeadersResponse{Results: change.Results, Revision: image.Revision}, nil
}

// AlterReassignments implements MetadataService.
func (s *Service) AlterReassignments(ctx context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	if err := checkCount("reassignments", len(req.GetReassignments())); err != nil {
		return nil, err
	}
	change := &cluster.AlterReassignments{Moves: req.GetReassignments()}
	image, err := s.change(ctx, req.GetValidateOnly(), func(*cluster.State) (cluster.Change, error) { return change, nil })
	if err != nil {
		return nil, err
	}
	return &metadatav1.AlterReassignmentsResponse{Results: change.Results, Revision: image.Revision}, nil
}

// idText renders a topic's id for the log, whatever it is.
func idText(b []byte) string {
	id, err := topicid.FromBytes(b)
	if err != nil {
		return ""
	}
	return id.String()
}
