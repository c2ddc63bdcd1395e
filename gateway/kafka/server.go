// Package kafka serves Kafka's wire protocol, so that existing clients find a
// broker here. Above it there are only clients; below stand gateway/routing
// and the doors of metadata and storage. GAPS.md tells what it does not serve;
// what ApiVersions advertises is what works.
//
// Invariant: record batches are opaque bytes. They lie in the buffer that the
// socket filled when storage takes them, and in the one that storage filled
// when the socket takes them.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/gateway/guard"
	"moldau.dev/gateway/quota"
	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/telemetry"
)

// Config bounds and shapes the door.
type Config struct {
	// NodeID is the broker id that clients see. It never changes.
	NodeID int32
	// Rack is where this gateway stands, for clients that read nearby; may be
	// empty.
	Rack string
	// Advertised is the HOST:PORT that clients are sent to, port 0 being the
	// listener's own; empty is where the listener listens.
	Advertised string
	// AutoCreateTopics makes asking for an unknown topic create it, where the
	// client allows that. It, MaxConnections and IdleTimeout are what holds until
	// the cluster's settings say otherwise.
	AutoCreateTopics bool
	// MaxRequestBytes bounds one request (socket.request.max.bytes).
	MaxRequestBytes int
	// MaxInFlightBytes bounds the requests in memory, over all connections.
	MaxInFlightBytes int64
	// MaxConnections bounds the connections.
	MaxConnections int
	// IdleTimeout closes a connection without requests (connections.max.idle.ms).
	IdleTimeout time.Duration
	// CallTimeout bounds what a client sets no time for.
	CallTimeout time.Duration
}

// Deps are what a Server stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	Nodes    routing.Nodes
	// Coordinators, where set, are the door to groups and transactions; without
	// it their APIs are not offered.
	Coordinators coordinatorclient.Client
	// Registerer, where set, gets the metrics.
	Registerer prometheus.Registerer
}

// Server is the door.
type Server struct {
	cfg      Config
	clk      clock.Clock
	log      *slog.Logger
	meta     metadataclient.Client
	router   *routing.Router
	nodes    routing.Nodes
	metrics  *metrics
	memory   *semaphore.Weighted
	ids      *producerIDs
	sessions *sessions

	coordinators coordinatorclient.Client // nil: none
	guard        *guard.Guard

	host string // advertised
	port int32

	seen    atomic.Pointer[brokers] // of the view that was last asked
	limited atomic.Pointer[limits]  // of the view that was last asked
	ruled   atomic.Pointer[quotaRules]
	book    *quota.Book

	life     context.Context // ends with Close
	end      context.CancelFunc
	polling  context.Context // ends with Drain: long polls answer at once
	endPolls context.CancelFunc

	wg    sync.WaitGroup // of the connections
	mu    sync.Mutex
	conns map[*conn]struct{}
	byIP  map[string]int // connections by address
	lis   net.Listener
	gone  bool
}

// NewServer returns a server; it has no goroutine until Serve.
func NewServer(cfg Config, d Deps) (*Server, error) {
	m, err := newMetrics(d.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, clk: d.Clock, log: d.Log, meta: d.Metadata, nodes: d.Nodes, metrics: m,
		router: routing.NewRouter(d.Metadata, d.Nodes, d.Clock), memory: semaphore.NewWeighted(cfg.MaxInFlightBytes),
		coordinators: d.Coordinators, guard: guard.New(d.Coordinators, d.Clock), book: quota.NewBook(), ids: newProducerIDs(d.Metadata), sessions: newSessions(d.Clock), conns: map[*conn]struct{}{}, byIP: map[string]int{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.polling, s.endPolls = context.WithCancel(s.life)
	return s, nil
}

// Advertise tells the address that clients are sent to. It is called once,
// before Serve, with the address of the listener.
func (s *Server) Advertise(listener net.Addr) error {
	addr := s.cfg.Advertised
	if addr == "" {
		addr = listener.String()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("advertised address: %w", err)
	}
	if _, own, err := net.SplitHostPort(listener.String()); err == nil && port == "0" {
		port = own
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("advertised address: %w", err)
	}
	s.host, s.port = host, int32(n)
	return nil
}

// Address is where clients are sent to, once Advertise was called.
func (s *Server) Address() string { return net.JoinHostPort(s.host, strconv.Itoa(int(s.port))) }

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// Serve accepts connections until Close; then it returns nil.
func (s *Server) Serve(lis net.Listener) error {
	s.mu.Lock()
	s.lis = lis
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return lis.Close()
	}
	pause := firstAcceptPause
	for {
		nc, err := lis.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // such as too many open files: it passes, or the next one says more
			s.log.Warn("accept a Kafka client", telemetry.Err(err))
			if !s.sleep(pause) {
				return nil
			}
			pause = min(2*pause, lastAcceptPause)
			continue
		}
		pause = firstAcceptPause
		s.welcome(nc)
	}
}

func (s *Server) sleep(d time.Duration) bool {
	timer := s.clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-s.life.Done():
		return false
	}
}

// welcome starts a connection, unless there are too many.
func (s *Server) welcome(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.full(nc.RemoteAddr()) {
		s.metrics.refused.Inc()
		_ = nc.Close() // nobody is told why: Kafka has no message for it
		return
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.byIP[ipOf(nc.RemoteAddr())]++
	s.metrics.connections.Inc()
	s.wg.Go(func() {
		c.serve()
		s.left(c)
	})
}

func (s *Server) left(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	ip := ipOf(c.net.RemoteAddr())
	if s.byIP[ip]--; s.byIP[ip] == 0 {
		delete(s.byIP, ip)
	}
	s.metrics.connections.Dec()
}

// Drain answers long polls at once. Requests are still served.
func (s *Server) Drain() { s.endPolls() }

// drainPause is how often Close looks whether connections have come to rest.
const drainPause = 10 * time.Millisecond

// Close stops listening, lets requests that are under way end until ctx does,
// and closes the connections.
func (s *Server) Close(ctx context.Context) {
	s.Drain()
	s.mu.Lock()
	s.gone = true
	lis := s.lis
	s.mu.Unlock()
	if lis != nil {
		_ = lis.Close() // Serve's own error tells if it did not
	}
	for !s.closeIdle() && ctx.Err() == nil {
		timer := s.clk.NewTimer(drainPause)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
	s.end()
	s.closeAll()
	s.wg.Wait()
}

// closeIdle closes the connections that wait for a request, and tells whether
// those were all.
func (s *Server) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := true
	for c := range s.conns {
		if c.busy.Load() > 0 {
			all = false
			continue
		}
		_ = c.net.Close()
	}
	return all
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.net.Close()
	}
}
