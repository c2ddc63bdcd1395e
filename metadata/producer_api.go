package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

const defaultProducerIDs = 1000

// AllocateProducerIds implements MetadataService. A block whose caller never
// heard of it is lost: ids are many, and none is ever given twice.
func (s *Service) AllocateProducerIds(ctx context.Context, req *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error) {
	count := req.GetCount()
	if count == 0 {
		count = defaultProducerIDs
	}
	image, err := s.controller.Change(ctx, func(*cluster.State) (cluster.Change, error) {
		return cluster.AllocateProducerIDs{Count: count}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.AllocateProducerIdsResponse{FirstId: image.State.NextProducerID - int64(count), Count: count}, nil
}
