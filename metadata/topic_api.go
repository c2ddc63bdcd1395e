package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

type decide = func(*cluster.State) (cluster.Change, error)

// change makes a change, or with validateOnly only tells what it would make,
// and waits until gateways know of it.
func (s *Service) change(ctx context.Context, validateOnly bool, d decide) (*controller.Image, error) {
	if validateOnly {
		return s.controller.Preview(ctx, d)
	}
	image, err := s.controller.Change(ctx, d)
	if err != nil {
		return nil, err
	}
	s.acknowledged(ctx, image.Revision)
	return image, nil
}

// CreateTopic implements MetadataService.
func (s *Service) CreateTopic(ctx context.Context, req *metadatav1.CreateTopicRequest) (*metadatav1.CreateTopicResponse, error) {
	partitions, factor := req.GetPartitionCount(), req.GetReplicationFactor()
	if partitions == 0 {
		partitions = s.cfg.NumPartitions
	}
	if factor == 0 {
		factor = s.cfg.DefaultReplicationFactor
	}
	id, now := topicid.New(), s.clk.Now().UnixMilli()
	image, err := s.change(ctx, req.GetValidateOnly(), func(state *cluster.State) (cluster.Change, error) {
		if err := state.CheckCreate(req.GetName(), partitions, factor, req.GetConfigs()); err != nil {
			return nil, err
		}
		assignment, err := controller.Place(state, nil, int(partitions))
		return cluster.CreateTopic{Name: req.GetName(), ID: id, Assignment: assignment, Configs: req.GetConfigs(), CreateTimeMs: now}, err
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.CreateTopicResponse{Topic: image.State.Topics[req.GetName()], Revision: image.Revision}, nil
}

// AlterTopic implements MetadataService.
func (s *Service) AlterTopic(ctx context.Context, req *metadatav1.AlterTopicRequest) (*metadatav1.AlterTopicResponse, error) {
	image, err := s.change(ctx, req.GetValidateOnly(), func(*cluster.State) (cluster.Change, error) {
		return cluster.AlterTopic{Name: req.GetName(), Set: req.GetSet(), Reset: req.GetReset_(), Version: req.GetVersion()}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.AlterTopicResponse{Topic: image.State.Topics[req.GetName()], Revision: image.Revision}, nil
}

// AddPartitions implements MetadataService.
func (s *Service) AddPartitions(ctx context.Context, req *metadatav1.AddPartitionsRequest) (*metadatav1.AddPartitionsResponse, error) {
	image, err := s.change(ctx, req.GetValidateOnly(), func(state *cluster.State) (cluster.Change, error) {
		t, err := state.CheckAdd(req.GetName(), req.GetPartitionCount())
		if err != nil {
			return nil, err
		}
		assignment, err := controller.Place(state, t, int(req.GetPartitionCount())-len(t.Partitions))
		return cluster.AddPartitions{Name: req.GetName(), Assignment: assignment}, err
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.AddPartitionsResponse{Topic: image.State.Topics[req.GetName()], Revision: image.Revision}, nil
}

// DeleteTopic implements MetadataService.
func (s *Service) DeleteTopic(ctx context.Context, req *metadatav1.DeleteTopicRequest) (*metadatav1.DeleteTopicResponse, error) {
	var id, deleted topicid.ID
	if len(req.GetTopicId()) > 0 {
		var err error
		if id, err = topicid.FromBytes(req.GetTopicId()); err != nil {
			return nil, errcode.New(errcode.InvalidArgument, "%v", err).WithField("topic_id")
		}
	}
	image, err := s.change(ctx, req.GetValidateOnly(), func(state *cluster.State) (cluster.Change, error) {
		if t := state.Topics[req.GetName()]; t != nil {
			deleted = topicid.ID(t.GetTopicId())
		}
		return cluster.DeleteTopic{Name: req.GetName(), ID: id}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.DeleteTopicResponse{TopicId: deleted[:], Revision: image.Revision}, nil
}
