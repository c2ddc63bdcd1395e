package native

import (
	"context"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// GetNode shows one storage node.
func (s *Server) GetNode(ctx context.Context, req *moldauv1.GetNodeRequest) (*moldauv1.GetNodeResponse, error) {
	if err := s.reach(ctx, req.GetMinRevision()); err != nil {
		return nil, err
	}
	n, err := s.node(req.GetNodeId())
	if err != nil {
		return nil, err
	}
	return &moldauv1.GetNodeResponse{Node: n, Origin: s.origin()}, nil
}

// node shows a node of the present view.
func (s *Server) node(id int32) (*moldauv1.Node, error) {
	n := showNodes(s.meta.View())[id]
	if n == nil {
		return nil, errcode.New(errcode.UnknownNode, "there is no node %d", id).WithField("node_id")
	}
	return n, nil
}

// DrainNode has all replicas moved off a node.
func (s *Server) DrainNode(ctx context.Context, req *moldauv1.DrainNodeRequest) (*moldauv1.DrainNodeResponse, error) {
	n, revision, err := s.evacuate(ctx, req.GetNodeId(), false)
	if err != nil {
		return nil, err
	}
	return &moldauv1.DrainNodeResponse{Node: n, Origin: s.originAt(revision)}, nil
}

// UndrainNode lets a node take replicas again.
func (s *Server) UndrainNode(ctx context.Context, req *moldauv1.UndrainNodeRequest) (*moldauv1.UndrainNodeResponse, error) {
	n, revision, err := s.evacuate(ctx, req.GetNodeId(), true)
	if err != nil {
		return nil, err
	}
	return &moldauv1.UndrainNodeResponse{Node: n, Origin: s.originAt(revision)}, nil
}

func (s *Server) evacuate(ctx context.Context, id int32, undo bool) (*moldauv1.Node, int64, error) {
	resp, err := s.meta.DrainNode(ctx, &metadatav1.DrainNodeRequest{NodeId: id, Undo: undo})
	if err != nil {
		return nil, 0, err
	}
	s.follow(ctx, resp.GetRevision(), false)
	n, err := s.node(id)
	return n, resp.GetRevision(), err
}

// RemoveNode forgets a node that is gone for good.
func (s *Server) RemoveNode(ctx context.Context, req *moldauv1.RemoveNodeRequest) (*moldauv1.RemoveNodeResponse, error) {
	resp, err := s.meta.RemoveNode(ctx, &metadatav1.RemoveNodeRequest{NodeId: req.GetNodeId()})
	if err != nil {
		return nil, err
	}
	s.follow(ctx, resp.GetRevision(), false)
	return &moldauv1.RemoveNodeResponse{Origin: s.originAt(resp.GetRevision())}, nil
}
