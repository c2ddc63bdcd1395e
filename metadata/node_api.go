package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// maxDeletedTopics bounds what one heartbeat tells of.
const maxDeletedTopics = 1000

// RegisterNode implements MetadataService.
func (s *Service) RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	node, image, err := s.controller.RegisterNode(ctx, cluster.RegisterNode{
		NodeID: req.GetNodeId(), Incarnation: req.GetIncarnation(), PreviousEpoch: req.GetPreviousNodeEpoch(),
		Address: req.GetAddress(), Rack: req.GetRack(), SameBoot: req.GetSameBoot(), NoData: req.GetClusterId() == "",
	}, req.GetClusterId(), req.GetSeen())
	if err != nil {
		return nil, err
	}
	return &metadatav1.RegisterNodeResponse{NodeEpoch: node.GetNodeEpoch(), Revision: image.Revision, ClusterId: image.State.ClusterID}, nil
}

// Heartbeat implements MetadataService.
func (s *Service) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	if req.GetNodeId() < 0 {
		return s.memberHeartbeat(ctx, req)
	}
	deleted, err := topicIDs("deleted_topics", req.GetDeletedTopics(), maxDeletedTopics)
	if err != nil {
		return nil, err
	}
	heard, err := s.controller.Heartbeat(ctx, controller.Beat{
		NodeID: req.GetNodeId(), NodeEpoch: req.GetNodeEpoch(), Revision: req.GetRevision(),
		Ready: req.GetReady(), Draining: req.GetDraining(), Deleted: deleted,
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.HeartbeatResponse{Fenced: heard.Fenced, Revision: heard.Revision}, nil
}

// memberHeartbeat is that of a gateway or a coordinator.
func (s *Service) memberHeartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	gateway, coordinator := req.GetGateway(), req.GetCoordinator()
	if req.GetGatewayId() == "" && gateway == nil && coordinator == nil {
		return nil, errcode.New(errcode.InvalidArgument, "a heartbeat must name a node, a gateway or a coordinator").WithField("gateway_id")
	}
	if gateway != nil {
		if err := s.controller.GatewayBeat(ctx, gateway, req.GetDraining()); err != nil {
			return nil, err
		}
	}
	if coordinator != nil {
		if err := s.controller.CoordinatorBeat(ctx, coordinator, req.GetDraining()); err != nil {
			return nil, err
		}
	}
	image := s.controller.Image()
	if image == nil {
		return nil, s.controller.NotLeading()
	}
	if id := req.GetGatewayId(); id != "" && req.GetDraining() {
		s.controller.Gateways.Leave(id)
	} else if id != "" {
		s.controller.Gateways.Beat(id, req.GetRevision())
	}
	return &metadatav1.HeartbeatResponse{Revision: image.Revision}, nil
}

// topicIDs parses ids of a request's field.
func topicIDs(field string, in [][]byte, most int) ([]topicid.ID, error) {
	if len(in) > most {
		return nil, errcode.New(errcode.InvalidArgument, "%d topic ids are more than %d", len(in), most).WithField(field)
	}
	out := make([]topicid.ID, len(in))
	for i, b := range in {
		id, err := topicid.FromBytes(b)
		if err != nil {
			return nil, errcode.New(errcode.InvalidArgument, "%v", err).WithField(field)
		}
		out[i] = id
	}
	return out, nil
}
