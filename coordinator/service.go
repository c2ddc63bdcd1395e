// Package coordinator is the coordinator: it owns shards of consumer groups,
// committed offsets and transactions, and keeps what it knows of them in
// journals on storage nodes. Gateways, above, reach it through
// coordinatorclient; below it are metadata, which says what it owns, and the
// storage nodes.
//
// The invariant to remember: a shard answers only while it is owned here, from
// all that its owners before have answered (invariants 20 and 21).
package coordinator

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/markers"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// Deps are what a coordinator stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	// Nodes finds the doors of storage nodes; storageclient.Pool is one.
	Nodes journal.Nodes
	// Transport shapes the connections to other coordinators.
	Transport  transport.DialOptions
	Registerer prometheus.Registerer // nil: no metrics
}

// Service is one coordinator. It implements CoordinatorService, and is the
// coordinatorclient.Peer of callers in its process.
//
//	NewService ── Start ──▶ owns what metadata gives it ── Drain ──▶ owns nothing, and has said so ── Stop ──▶
type Service struct {
	unimplemented
	*groupAPI
	*transactionAPI

	cfg         Config
	clk         clock.Clock
	log         *slog.Logger
	meta        metadataclient.Client
	nodes       journal.Nodes
	peers       *coordinatorclient.Router
	calls       *transactionCalls
	incarnation string
	lease       lease

	groupMetrics, transactionMetrics *shard.Metrics

	draining  atomic.Bool
	loops     sync.WaitGroup
	endLoops  context.CancelFunc
	acquiring sync.WaitGroup  // shards that are being taken over, or given up
	taking    context.Context // done when nothing is to be taken over any more
	endTaking context.CancelFunc

	mu       sync.Mutex
	holdings map[int32]*holding
	// yielded are the epochs from which on shards were claimed by others: a View
	// that is behind them gives nothing back.
	yielded map[int32]int64
}

// unimplemented stands behind what the other parts of a Service serve.
type unimplemented struct {
	coordinatorv1.UnimplementedCoordinatorServiceServer
}

var (
	_ coordinatorclient.Peer                 = (*Service)(nil)
	_ coordinatorv1.CoordinatorServiceServer = (*Service)(nil)
)

// NewService returns a coordinator that does nothing before Start.
func NewService(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, clk: deps.Clock, log: deps.Log, meta: deps.Metadata, nodes: deps.Nodes, incarnation: rand.Text(),
		peers:              coordinatorclient.New(deps.Metadata, coordinatorclient.Options{Clock: deps.Clock, Transport: deps.Transport}),
		groupMetrics:       shard.NewMetrics("group", deps.Registerer),
		transactionMetrics: shard.NewMetrics("transaction", deps.Registerer),
		holdings:           map[int32]*holding{}, yielded: map[int32]int64{},
	}
	s.taking, s.endTaking = context.WithCancel(context.Background())
	s.peers.AddLocal(cfg.ID, s)
	s.groupAPI = &groupAPI{meta: s.meta, shardOf: s.groupShard, shards: s.groupShards}
	s.transactionAPI = &transactionAPI{meta: s.meta, shardOf: s.transactionShard, shards: s.transactionShards}
	s.calls = &transactionCalls{meta: s.meta, sender: markers.New(markers.Deps{
		Clock: deps.Clock, Log: deps.Log, Metadata: deps.Metadata, Nodes: deps.Nodes, Offsets: s.peers, Metrics: markers.NewMetrics(deps.Registerer),
	})}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(&collector{s}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Register serves CoordinatorService on r.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	coordinatorv1.RegisterCoordinatorServiceServer(r, s)
}

// Start registers with the controller, and begins to take what that gives it.
// It returns once it is registered; a controller that does not answer is asked
// again until ctx ends.
func (s *Service) Start(ctx context.Context) error {
	if err := s.register(ctx); err != nil {
		return err
	}
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.endLoops = cancel
	s.loops.Go(func() { s.beatOn(loops) })
	s.loops.Go(func() { s.watch(loops) })
	return nil
}

// Ready returns nil if the coordinator is registered and its lease holds.
func (s *Service) Ready() error {
	switch {
	case s.draining.Load():
		return errcode.New(errcode.ShuttingDown, "coordinator %d is shutting down", s.cfg.ID)
	case !s.lease.holds(s.clk.Now()):
		return errcode.New(errcode.CoordinatorUnavailable, "coordinator %d has not been heard by the controller for %s", s.cfg.ID, s.cfg.Lease)
	}
	return nil
}

// Drain gives up all shards and then tells the controller, so that others have
// them at once, and find all that was answered here.
func (s *Service) Drain(ctx context.Context) error {
	s.draining.Store(true)
	if s.endLoops == nil {
		return nil // never started
	}
	s.letGo()
	return s.beat(ctx)
}

// letGo gives up all shards, and returns when none runs here any more.
func (s *Service) letGo() {
	s.reconcile()
	s.endTaking()
	s.acquiring.Wait()
}

// Stop ends all that the coordinator does. It may be called again.
func (s *Service) Stop(context.Context) error {
	s.draining.Store(true)
	if s.endLoops != nil {
		s.endLoops()
		s.loops.Wait()
	}
	s.letGo()
	s.calls.sender.Close()
	return s.peers.Close()
}
