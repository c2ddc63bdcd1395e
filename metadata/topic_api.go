package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
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
	if topicconfig.IsInternal(req.GetName()) && !req.GetInternal() {
		return nil, errcode.New(errcode.PolicyViolation, "topic %q is of the coordinators, and made for them", req.GetName()).WithField("name")
	}
	if len(req.GetAssignment()) > 0 && (req.GetPartitionCount() != 0 || req.GetReplicationFactor() != 0) {
		return nil, errcode.New(errcode.InvalidArgument, "an assignment says how many partitions and replicas there are; the counts must be 0").WithField("assignment")
	}
	id, now := topicid.New(), s.clk.Now().UnixMilli()
	image, err := s.change(ctx, req.GetValidateOnly(), func(state *cluster.State) (cluster.Change, error) {
		assignment, err := newAssignment(state, req)
		return cluster.CreateTopic{Name: req.GetName(), ID: id, Assignment: assignment, Configs: req.GetConfigs(), CreateTimeMs: now}, err
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.CreateTopicResponse{Topic: image.State.Topics[req.GetName()], Revision: image.Revision}, nil
}

// newAssignment says where the partitions of a new topic go.
func newAssignment(state *cluster.State, req *metadatav1.CreateTopicRequest) ([][]int32, error) {
	if len(req.GetAssignment()) > 0 {
		return lists(req.GetAssignment()), nil
	}
	partitions, factor := req.GetPartitionCount(), req.GetReplicationFactor()
	if partitions == 0 {
		partitions = state.NewTopicPartitions()
	}
	if factor == 0 {
		factor = state.NewTopicReplicas()
	}
	if err := state.CheckCreate(req.GetName(), partitions, factor, req.GetConfigs()); err != nil {
		return nil, err
	}
	return state.Place(nil, int(partitions), int(factor))
}

func lists(assignment []*metadatav1.ReplicaList) [][]int32 {
	out := make([][]int32, len(assignment))
	for i, a := range assignment {
		out[i] = a.GetReplicas()
	}
	return out
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
		count := int(req.GetPartitionCount()) - len(t.Partitions)
		if given := req.GetAssignment(); len(given) > 0 {
			if len(given) != count {
				return nil, errcode.New(errcode.InvalidReplicaAssignment, "%d partitions are to be added, and %d were assigned", count, len(given)).WithField("assignment")
			}
			return cluster.AddPartitions{Name: req.GetName(), Assignment: lists(given)}, nil
		}
		assignment, err := state.Place(t, count, cluster.ReplicationFactor(t))
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
