// Package metadata is the controller's process: topics, nodes and leaders,
// decided in one place and streamed to everyone else. Below it is the store;
// above it storage nodes, coordinators and gateways, which reach it through
// metadataclient and decide from its View.
//
// Invariant: what an answer or a watch shows is durable (C5).
package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/metadata/controller"
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

// Service is one metadata process. It implements MetadataServiceServer.
type Service struct {
	metadatav1.UnimplementedMetadataServiceServer

	cfg        Config
	clk        clock.Clock
	log        *slog.Logger
	controller *controller.Controller
	own        store.Store // closed by Stop; nil where Deps gave the store
	peers      *peers      // nil where nobody can reach this process

	unclean prometheus.Counter

	stopOnce sync.Once
	stopping chan struct{}
}

// NewService checks cfg and opens the store. The error wraps store.ErrLocked
// where another process has it open.
func NewService(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, clk: deps.Clock, log: deps.Log, unclean: newUnclean(), stopping: make(chan struct{})}
	if s.clk == nil {
		s.clk = clock.Real()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	st := deps.Store
	if st == nil {
		var err error
		if st, err = openStore(cfg, s.clk); err != nil {
			return nil, err
		}
		s.own = st
	}
	shape := cfg.controller()
	if cfg.Advertise != "" {
		s.peers = newPeers()
		shape.Ping = s.peers.ping
	}
	s.controller = controller.New(shape, s.clk, s.log, st)
	if deps.Registerer != nil {
		if err := s.registerMetrics(deps.Registerer); err != nil {
			return nil, errors.Join(err, s.closeStore())
		}
	}
	return s, nil
}

func openStore(cfg Config, clk clock.Clock) (st store.Store, err error) {
	switch cfg.StoreKind {
	case StoreMemory:
		return store.NewMemory(), nil
	case StoreConsul:
		st, err = store.NewConsul(cfg.Consul, clk)
	default:
		st, err = store.OpenEmbedded(cfg.DataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("open metadata store: %w", err)
	}
	return st, nil
}

// Start begins to campaign for the controller's lease. With a store of its own
// there is no rival, so it returns once it leads, or with the reason why it
// cannot; with a shared store it returns at once.
func (s *Service) Start(ctx context.Context) error {
	s.controller.Start()
	if s.own == nil || s.cfg.StoreKind == StoreConsul {
		return nil
	}
	if err := s.controller.WaitLeading(ctx); err != nil {
		return fmt.Errorf("start metadata: %w", err)
	}
	return nil
}

// Stop ends watches, gives up the lease and closes the store that NewService
// opened. It may be called again.
func (s *Service) Stop(ctx context.Context) error {
	var err error
	s.stopOnce.Do(func() {
		close(s.stopping)
		err = errors.Join(s.controller.Stop(ctx), s.closeStore(), s.peers.close())
	})
	return err
}

func (s *Service) closeStore() error {
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}

// Register puts the service on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { metadatav1.RegisterMetadataServiceServer(r, s) }

// Ready tells whether this process is the controller.
func (s *Service) Ready() bool { return s.controller.Image() != nil }

// acknowledged waits until every live gateway knows of revision, so that
// whichever a client asks next has seen the change it was told of. The change
// stands either way.
func (s *Service) acknowledged(ctx context.Context, revision int64) {
	if !s.controller.Gateways.Wait(ctx, revision, s.cfg.AckTimeout) {
		s.log.Warn("answering before every gateway has caught up", "revision", revision)
	}
}
