package metadata

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
)

// Deps are what a Service stands on.
type Deps struct {
	Clock      clock.Clock           // default: the real one
	Log        *slog.Logger          // default: discards
	Store      store.Store           // default: opened as Config says, and closed by Stop
	Registerer prometheus.Registerer // default: no metrics
}

// Service is one metadata process.
type Service struct {
	metadatav1.UnimplementedMetadataServiceServer
}

// NewService checks cfg and opens the store.
func NewService(cfg Config, deps Deps) (*Service, error) { return nil, errors.New("not yet") }

// Start begins to campaign for the controller's lease and returns at once.
func (s *Service) Start(ctx context.Context) error { return nil }

// Stop ends watches, releases the lease and closes the store if NewService opened it.
func (s *Service) Stop(ctx context.Context) error { return nil }

// Register puts the service on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { metadatav1.RegisterMetadataServiceServer(r, s) }
