package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// RegisterNode implements MetadataService.
func (s *Service) RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	node, image, err := s.controller.RegisterNode(ctx, cluster.RegisterNode{
		NodeID: req.GetNodeId(), Incarnation: req.GetIncarnation(), PreviousEpoch: req.GetPreviousNodeEpoch(),
		Address: req.GetAddress(), Rack: req.GetRack(),
	}, req.GetClusterId(), req.GetSeen())
	if err != nil {
		return nil, err
	}
	return &metadatav1.RegisterNodeResponse{NodeEpoch: node.GetNodeEpoch(), Revision: image.Revision, ClusterId: image.State.ClusterID}, nil
}

// Heartbeat implements MetadataService.
func (s *Service) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	if req.GetNodeId() < 0 {
		return s.gatewayHeartbeat(req)
	}
	fenced, revision, err := s.controller.Heartbeat(ctx, controller.Beat{
		NodeID: req.GetNodeId(), NodeEpoch: req.GetNodeEpoch(), Revision: req.GetRevision(),
		Ready: req.GetReady(), Draining: req.GetDraining(),
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.HeartbeatResponse{Fenced: fenced, Revision: revision}, nil
}

func (s *Service) gatewayHeartbeat(req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	if req.GetGatewayId() == "" {
		return nil, errcode.New(errcode.InvalidArgument, "a heartbeat must name a node or a gateway").WithField("gateway_id")
	}
	image := s.controller.Image()
	if image == nil {
		return nil, s.controller.NotLeading()
	}
	s.controller.Gateways.Beat(req.GetGatewayId(), req.GetRevision())
	return &metadatav1.HeartbeatResponse{Revision: image.Revision}, nil
}
