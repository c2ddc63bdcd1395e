// Package native serves moldau.v1. Each RPC is written once, as a plain method
// of Server; grpc.go and connect.go hand it to grpc-go and to Connect, and
// gateway/rest calls it in process. Below it stand gateway/routing and the
// doors of metadata and storage.
//
// Invariant: a gateway keeps nothing that another gateway needs. Whatever a
// client must have to go on elsewhere, it was told.
package native

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/gateway/guard"
	"moldau.dev/gateway/routing"
	"moldau.dev/gateway/token"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// Config bounds and shapes the API.
type Config struct {
	// AutoCreateTopics makes producing to an unknown topic create it.
	AutoCreateTopics bool
	// HeartbeatInterval is how often a Read stream beats, at most 10 s.
	HeartbeatInterval time.Duration
	// ProduceTimeout bounds a produce whose caller set no nearer deadline.
	ProduceTimeout time.Duration
	// MaxInFlightBytes bounds the records of all produces under way, and those
	// of all answers that readers have not taken, beyond a little for each.
	MaxInFlightBytes int64
	// StreamInFlightBytes bounds the records of one ProduceStream.
	StreamInFlightBytes int64
	// MaxRequestBytes bounds the records of one produce.
	MaxRequestBytes int
	// MaxStreamPartitions bounds the partitions of one Read.
	MaxStreamPartitions int
	// TokenSecret signs tokens, TokenSecretBefore opens those that were signed
	// before it was changed. All gateways of a cluster have the same.
	TokenSecret, TokenSecretBefore string
}

// Deps are what a Server stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	Nodes    routing.Nodes
	// Coordinators are the door to groups and transactions; nil: the cluster has
	// none.
	Coordinators coordinatorclient.Coordinator
	Version      string
	// Tracing, where set, makes produced records carry their trace.
	Tracing trace.TracerProvider
	// Registerer, where set, gets the metrics.
	Registerer prometheus.Registerer
}

// Server implements every service of moldau.v1.
type Server struct {
	cfg    Config
	clk    clock.Clock
	log    *slog.Logger
	meta   metadataclient.Client
	router *routing.Router
	sticky *routing.Sticky
	lanes  *lanes
	// Of groups and transactions.
	coordinators coordinatorclient.Coordinator
	guard        *guard.Guard
	txnLanes     *txnLanes
	consumers    *consumers
	tokens       *token.Signer

	bytes   *semaphore.Weighted // of produces
	reads   *semaphore.Weighted // of answers to readers
	version string
	tracer  trace.Tracer // nil: no traces
	metrics *metrics
	names   atomic.Pointer[sortedNames]
	configs sync.Map // topicid.ID → *topicConfig

	life     context.Context // ends with Close
	end      context.CancelFunc
	polling  context.Context // ends with Drain; long polls and Read streams end with it
	endPolls context.CancelFunc
}

// NewServer returns a server; it has no goroutine until it is called.
func NewServer(cfg Config, d Deps) (*Server, error) {
	m, err := newMetrics(d.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, clk: d.Clock, log: d.Log, meta: d.Metadata, version: d.Version, metrics: m,
		router: routing.NewRouter(d.Metadata, d.Nodes, d.Clock), sticky: routing.NewSticky(),
		bytes: semaphore.NewWeighted(cfg.MaxInFlightBytes), reads: semaphore.NewWeighted(cfg.MaxInFlightBytes),
	}
	if d.Tracing != nil {
		s.tracer = d.Tracing.Tracer("moldau.dev/gateway")
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.polling, s.endPolls = context.WithCancel(s.life)
	s.lanes = newLanes(s)
	if s.coordinators = d.Coordinators; s.coordinators == nil {
		s.coordinators = noCoordinators{}
	}
	s.consumers, s.tokens = s.newConsumers(), token.NewSigner(cfg.TokenSecret, cfg.TokenSecretBefore)
	s.guard, s.txnLanes = guard.New(s.coordinators, d.Clock), &txnLanes{s: s, byKey: map[txnKey]*txnLane{}}
	return s, nil
}

// Drain ends Read streams with a reconnect frame, and long polls early. Other
// calls are still served.
func (s *Server) Drain() { s.endPolls() }

// poll returns ctx for a long poll: it also ends with Drain.
func (s *Server) poll(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.polling, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Close cuts off appends that nobody waits for any more, and returns once
// none is under way. Call it after the listeners have stopped.
func (s *Server) Close() {
	s.end()
	s.lanes.wg.Wait()
	s.txnLanes.wg.Wait()
	s.consumers.wg.Wait()
}

func (s *Server) origin() *moldauv1.Origin { return s.originAt(0) }

// originAt is the origin of an answer that holds a change made at revision.
func (s *Server) originAt(revision int64) *moldauv1.Origin {
	v := s.meta.View()
	return &moldauv1.Origin{ClusterId: v.ClusterID, Revision: max(v.Revision, revision)}
}

// topic returns a topic of the present view.
func (s *Server) topic(name, field string) (*metadataclient.Topic, error) {
	if name == "" {
		return nil, invalid(field, "a topic's name is needed")
	}
	t := s.meta.View().Topics[name]
	if t == nil {
		return nil, errcode.New(errcode.UnknownTopic, "no topic is named %q", clip(name)).WithField(field)
	}
	return t, nil
}

// reach waits until the view has the revision that a caller asked for.
func (s *Server) reach(ctx context.Context, revision int64) error {
	if revision < 0 {
		return invalid("min_revision", "%d is negative", revision)
	}
	if s.meta.View().Revision >= revision {
		return nil
	}
	err := s.meta.WaitRevision(ctx, revision)
	if errors.Is(err, context.DeadlineExceeded) {
		return errcode.Wrap(err, errcode.StaleRevision, "this gateway is at revision %d, %d was asked for", s.meta.View().Revision, revision)
	}
	return err
}

func invalid(field, format string, args ...any) error {
	return errcode.New(errcode.InvalidArgument, format, args...).WithField(field)
}

// clip bounds what a message repeats of a caller's text.
func clip(s string) string {
	const most = 260
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// sortedNames is a view's topics by name, made once for each view that is
// listed.
type sortedNames struct {
	view  *metadataclient.View
	names []string
}

func (s *Server) sortedNames() *sortedNames {
	v := s.meta.View()
	if have := s.names.Load(); have != nil && have.view == v {
		return have
	}
	made := &sortedNames{view: v, names: make([]string, 0, len(v.Topics))}
	for name := range v.Topics {
		made.names = append(made.names, name)
	}
	slices.Sort(made.names)
	s.names.Store(made)
	return made
}
