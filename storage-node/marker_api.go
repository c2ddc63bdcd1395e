package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// WriteMarkers implements storageclient.Storage.
func (s *Service) WriteMarkers(context.Context, *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	return nil, errcode.New(errcode.Unimplemented, "markers are not written yet")
}
