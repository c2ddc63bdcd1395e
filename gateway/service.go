// Package gateway is the only door for clients: moldau.v1 over gRPC, Connect,
// gRPC-Web and REST, and Kafka's wire protocol. Below it stand metadata and storage nodes, reached
// through their doors; above it there are only clients.
//
// Invariant: any gateway serves any partition and any token. It keeps nothing
// that another gateway needs, so gateways come and go freely.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"connectrpc.com/grpchealth"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/gateway/kafka"
	"moldau.dev/gateway/native"
	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/transport"
)

// Deps are what a Service stands on.
type Deps struct {
	Clock    clock.Clock  // default: the real one
	Log      *slog.Logger // default: discards
	Metadata metadataclient.Client
	Nodes    routing.Nodes // storageclient.Pool
	// Coordinators, where set, are the door to groups and transactions; without
	// it Kafka's clients are not offered them.
	Coordinators coordinatorclient.Client
	// LocalNodes are the storage nodes in this process: clients find the
	// partitions that they lead here.
	LocalNodes []int32
	// Registerer, where set, gets the metrics.
	Registerer prometheus.Registerer
	// Tracing, where set, traces gRPC calls and makes records carry their trace.
	Tracing trace.TracerProvider
	Version string // shown by GetCluster
}

// Service is one gateway.
type Service struct {
	cfg    Config
	clk    clock.Clock
	log    *slog.Logger
	meta   metadataclient.Client
	native *native.Server
	kafka  *kafka.Server

	tracing trace.TracerProvider  // nil: no traces
	metrics prometheus.Registerer // nil: no metrics
	calls   *transport.Calls      // nil: not counted

	grpc       *grpc.Server
	http       *http.Server
	grpcHealth *health.Server
	httpHealth *grpchealth.StaticChecker

	grpcLis, httpLis, kafkaLis net.Listener

	localNodes []int32
	announcer  *announcer // once started

	wg        sync.WaitGroup // of the listeners
	failed    chan error     // a listener's end before Stop
	started   atomic.Bool
	draining  atomic.Bool
	drainOnce sync.Once
	stopOnce  sync.Once
}

// services are what health checks may ask for by name.
var services = []string{
	moldauv1.TopicService_ServiceDesc.ServiceName, moldauv1.ProduceService_ServiceDesc.ServiceName,
	moldauv1.ReadService_ServiceDesc.ServiceName, moldauv1.ClusterService_ServiceDesc.ServiceName,
	moldauv1.TransactionService_ServiceDesc.ServiceName, moldauv1.OffsetService_ServiceDesc.ServiceName,
	moldauv1.GroupService_ServiceDesc.ServiceName, moldauv1.ConsumeService_ServiceDesc.ServiceName,
}

// NewService checks cfg and puts the gateway together; nothing listens yet.
func NewService(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Metadata == nil || deps.Nodes == nil {
		return nil, errors.New("a gateway needs the doors of metadata and of storage nodes")
	}
	if deps.Clock == nil {
		deps.Clock = clock.Real()
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	server, err := native.NewServer(cfg.native(), native.Deps{
		Clock: deps.Clock, Log: deps.Log, Metadata: deps.Metadata, Nodes: deps.Nodes, Version: deps.Version, Coordinators: deps.Coordinators,
		Tracing: deps.Tracing, Registerer: deps.Registerer,
	})
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, clk: deps.Clock, log: deps.Log, meta: deps.Metadata, native: server, tracing: deps.Tracing, metrics: deps.Registerer,
		grpcHealth: health.NewServer(), httpHealth: grpchealth.NewStaticChecker(services...), failed: make(chan error, 3),
	}
	s.localNodes = deps.LocalNodes
	if deps.Registerer != nil {
		s.calls = transport.NewCalls(deps.Registerer, deps.Clock)
	}
	if s.kafka, err = kafka.NewServer(cfg.kafka(), kafka.Deps{
		Clock: deps.Clock, Log: deps.Log, Metadata: deps.Metadata, Nodes: deps.Nodes, Coordinators: deps.Coordinators, Registerer: deps.Registerer,
	}); err != nil {
		return nil, err
	}
	s.grpc = transport.NewServer(transport.Options{
		Audience: transport.External, Clock: deps.Clock, Log: deps.Log, Metrics: deps.Registerer, Tracing: deps.Tracing,
		MaxRecvBytes: transport.MaxMessage(cfg.MaxRequestBytes), DefaultDeadline: cfg.CallTimeout,
	})
	server.RegisterGRPC(s.grpc)
	healthv1.RegisterHealthServer(s.grpc, s.grpcHealth)
	if cfg.Reflection {
		reflection.Register(s.grpc)
	}
	if s.http, err = s.newHTTPServer(); err != nil {
		return nil, err
	}
	s.serving(false)
	return s, nil
}

// Start opens the listeners and returns. Health says SERVING once metadata is
// here; calls before that find an empty cluster.
func (s *Service) Start(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if s.grpcLis, err = lc.Listen(ctx, "tcp", s.cfg.GRPCListen); err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	if s.httpLis, err = lc.Listen(ctx, "tcp", s.cfg.HTTPListen); err != nil {
		return errors.Join(fmt.Errorf("listen for HTTP: %w", err), s.grpcLis.Close())
	}
	if err := s.listenKafka(lc.Listen(ctx, "tcp", s.cfg.KafkaListen)); err != nil {
		return errors.Join(err, s.grpcLis.Close(), s.httpLis.Close())
	}
	if err := s.meta.WaitRevision(ctx, 1); err != nil {
		return errors.Join(fmt.Errorf("wait for metadata: %w", err), s.grpcLis.Close(), s.httpLis.Close(), s.kafkaLis.Close())
	}
	s.wg.Go(func() {
		s.serve("gRPC", func() error { return s.grpc.Serve(transport.Aged(s.guarded(s.grpcLis), s.clk)) })
	})
	s.wg.Go(func() { s.serve("HTTP", func() error { return s.http.Serve(s.guarded(s.httpLis)) }) })
	s.wg.Go(func() { s.serve("Kafka", func() error { return s.kafka.Serve(s.kafkaLis) }) })
	s.announcer = s.announce()
	s.serving(true)
	s.started.Store(true)
	s.log.Info("gateway listens", "grpc_addr", s.GRPCAddr(), "http_addr", s.HTTPAddr(), "kafka_addr", s.KafkaAddr())
	return nil
}

func (s *Service) guarded(lis net.Listener) net.Listener {
	return transport.CutResets(lis, s.clk, s.metrics)
}

func (s *Service) serve(what string, listen func() error) {
	if err := listen(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
		s.serving(false)
		s.started.Store(false)
		s.failed <- fmt.Errorf("serve %s: %w", what, err)
	}
}

// Run returns nil when ctx ends, or before that why a listener no longer
// listens.
func (s *Service) Run(ctx context.Context) error {
	select {
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (s *Service) serving(yes bool) {
	grpcStatus, httpStatus := healthv1.HealthCheckResponse_NOT_SERVING, grpchealth.StatusNotServing
	if yes {
		grpcStatus, httpStatus = healthv1.HealthCheckResponse_SERVING, grpchealth.StatusServing
	}
	for _, name := range append([]string{""}, services...) {
		s.grpcHealth.SetServingStatus(name, grpcStatus)
		s.httpHealth.SetStatus(name, httpStatus)
	}
}

// GRPCAddr is where gRPC is served, once started.
func (s *Service) GRPCAddr() string { return s.grpcLis.Addr().String() }

// HTTPAddr is where Connect, gRPC-Web and REST are served, once started.
func (s *Service) HTTPAddr() string { return s.httpLis.Addr().String() }

// Ready tells whether clients should be sent here.
func (s *Service) Ready() bool { return s.started.Load() && !s.draining.Load() }

// Drain tells clients to go elsewhere: health says NOT_SERVING, Read streams
// end with a reconnect frame, long polls answer. Calls are still served.
func (s *Service) Drain(context.Context) error {
	s.drainOnce.Do(func() {
		s.draining.Store(true)
		s.serving(false)
		s.native.Drain()
		s.kafka.Drain()
	})
	return nil
}

// Stop drains, lets calls end for a while, and closes the listeners. It may be
// called again.
func (s *Service) Stop(ctx context.Context) error {
	err := s.Drain(ctx)
	s.stopOnce.Do(func() {
		if s.announcer != nil {
			s.announcer.leave(ctx)
		}
		var wg sync.WaitGroup
		wg.Go(func() { transport.GracefulStop(ctx, s.clk, s.grpc) })
		wg.Go(func() { s.stopHTTP(ctx) })
		wg.Go(func() { s.stopKafka(ctx) })
		wg.Wait()
		s.wg.Wait()
		s.native.Close()
	})
	return err
}

func (s *Service) stopHTTP(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transport.HardStopAfter)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // whoever is still here was told to go
	}
}
