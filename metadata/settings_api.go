package metadata

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// AlterClusterConfigs implements MetadataService.
func (s *Service) AlterClusterConfigs(ctx context.Context, req *metadatav1.AlterClusterConfigsRequest) (*metadatav1.AlterClusterConfigsResponse, error) {
	image, err := s.change(ctx, req.GetValidateOnly(), func(*cluster.State) (cluster.Change, error) {
		return cluster.AlterClusterConfigs{BrokerID: req.GetBrokerId(), Set: req.GetSet(), Reset: req.GetReset_()}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.AlterClusterConfigsResponse{Revision: image.Revision}, nil
}

// UpdateFeatures implements MetadataService.
func (s *Service) UpdateFeatures(ctx context.Context, req *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error) {
	image, err := s.change(ctx, req.GetValidateOnly(), func(*cluster.State) (cluster.Change, error) {
		return cluster.UpdateFeatures{Levels: req.GetLevels(), AllowDowngrade: req.GetAllowDowngrade()}, nil
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.UpdateFeaturesResponse{Revision: image.Revision}, nil
}
