package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/telemetry"
)

// DrainNode implements MetadataService. The controller moves the replicas in
// batches; the same call again tells how many are left.
func (s *Service) DrainNode(ctx context.Context, req *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error) {
	image, err := s.change(ctx, false, func(*cluster.State) (cluster.Change, error) {
		return cluster.EvacuateNode{NodeID: req.GetNodeId(), Undo: req.GetUndo()}, nil
	})
	if err != nil {
		return nil, err
	}
	left := image.State.ReplicasOn(req.GetNodeId())
	return &metadatav1.DrainNodeResponse{ReplicasLeft: int32(left), Revision: image.Revision}, nil
}

// RemoveNode implements MetadataService.
func (s *Service) RemoveNode(ctx context.Context, req *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error) {
	image, err := s.change(ctx, false, func(*cluster.State) (cluster.Change, error) {
		return cluster.RemoveNode{NodeID: req.GetNodeId()}, nil
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("audit: an operator removed a node", telemetry.NodeID(req.GetNodeId()))
	return &metadatav1.RemoveNodeResponse{Revision: image.Revision}, nil
}

// Rebalance implements MetadataService. It begins as many moves as may run at
// once; with ValidateOnly it tells all that are to be made.
func (s *Service) Rebalance(ctx context.Context, req *metadatav1.RebalanceRequest) (*metadatav1.RebalanceResponse, error) {
	b, err := s.controller.Rebalance(ctx, req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	if !req.GetValidateOnly() {
		s.acknowledged(ctx, b.Revision)
	}
	return &metadatav1.RebalanceResponse{Reassignments: b.Moves, LeadersMoved: int32(b.Leaders), Revision: b.Revision}, nil
}
