// Package storagenode is the storage node: it leads partitions, orders and
// keeps their batches and gives them to readers. Gateways and coordinators,
// above, reach it through storageclient; below it are metadata, which it
// watches and reconciles to, and the disk, which it reaches through vfs.
//
// The invariant to remember: what an acks=all append was answered for is below
// the high watermark, and in a durable topic the high watermark is below what
// was fsynced (invariants 1 and 9, rules R6 and R15).
package storagenode

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// Deps are what a node stands on.
type Deps struct {
	Clock      clock.Clock
	Log        *slog.Logger
	Metadata   metadataclient.Client
	Peers      *storageclient.Peers // ways to the other nodes; nil: plain connections
	FS         vfs.FS
	Registerer prometheus.Registerer // nil: no metrics
}

// Service is one storage node. It implements storageclient.Storage.
//
//	NewService ── Start ──▶ serving ── Drain ──▶ leads nothing that another can lead ──▶ no long polls, no new work
//	── Stop ──▶ clean-shutdown file
type Service struct {
	cfg       Config
	clock     clock.Clock
	log       *slog.Logger
	meta      metadataclient.Client
	fs        vfs.FS
	metrics   *metrics
	flusher   *flusher
	files     *commitlog.FileCache
	peers     *storageclient.Peers
	links     *links
	workers   *workers
	isr       *isrChanges
	catchUp   *throttle
	scrubRate *throttle
	mender    *mender
	marks     *checkpoint

	appendBytes, fetchBytes *semaphore.Weighted

	lock     io.Closer // of the data directory
	identity identity
	// How far metadata was followed by processes before this one, read at the
	// start, and the revision that is written down (C11).
	seenBefore *metadatav1.Position
	seenKept   int64

	nodeEpoch atomic.Int64  // 0 until registered
	leaving   atomic.Bool   // the controller is told to have others lead
	draining  chan struct{} // closed by Drain
	drainOnce sync.Once
	stopping  chan struct{} // closed by Stop
	loops     sync.WaitGroup
	life      context.Context // of the loops
	endLoops  context.CancelFunc

	leaseMu sync.Mutex
	lease   *replication.Lease

	mu         sync.RWMutex
	partitions map[storageclient.PartitionID]*partition
	onDisk     map[topicid.ID]map[int32]bool // partitions that have a directory
	cleared    map[topicid.ID]bool           // deleted topics of which nothing is left

	// reconciling is held by one who makes the node what a view says; taken before
	// mu. What it guards is of the last view.
	reconciling sync.Mutex
	reconciled  map[topicid.ID]*metadataclient.Topic
	nodes       map[int32]*metadataclient.Node
	kept        map[storageclient.PartitionID]bool // moved away, and not to be deleted in this life
}

var _ storageclient.Storage = (*Service)(nil)

// NewService returns a node that does nothing before Start.
func NewService(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Peers == nil {
		deps.Peers = storageclient.NewPeers(transport.DialOptions{})
	}
	s := &Service{
		cfg: cfg, clock: deps.Clock, log: deps.Log, meta: deps.Metadata, fs: deps.FS,
		metrics:     newMetrics(deps.Registerer),
		files:       commitlog.NewFileCache(cfg.MaxOpenFiles),
		appendBytes: semaphore.NewWeighted(cfg.MaxInFlightBytes),
		fetchBytes:  semaphore.NewWeighted(cfg.MaxInFlightBytes),
		draining:    make(chan struct{}),
		stopping:    make(chan struct{}),
		peers:       deps.Peers,
		workers:     &workers{most: cfg.ReplicaWorkers},
		catchUp:     &throttle{clock: deps.Clock, rate: cfg.CatchUpBytesPerSecond},
		scrubRate:   &throttle{clock: deps.Clock, rate: cfg.ScrubBytesPerSecond},
		lease:       replication.NewLease(cfg.Replication.Lease),
		partitions:  map[storageclient.PartitionID]*partition{},
		onDisk:      map[topicid.ID]map[int32]bool{},
		cleared:     map[topicid.ID]bool{},
		reconciled:  map[topicid.ID]*metadataclient.Topic{},
		kept:        map[storageclient.PartitionID]bool{},
	}
	s.marks = &checkpoint{node: s, marks: map[storageclient.PartitionID]int64{}}
	s.links, s.isr = &links{node: s, all: map[int32]*link{}}, newISRChanges(s)
	s.mender = newMender(s)
	s.flusher = newFlusher(cfg.FlushParallelism, func(n int) { s.metrics.flushed.Observe(float64(n)) })
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Register serves the node's StorageService on r.
func (s *Service) Register(r grpc.ServiceRegistrar) { storageclient.Serve(r, s) }

// Storage is the door for callers of this process: a direct call.
func (s *Service) Storage() storageclient.Storage { return s }

// Start takes the data directory, registers the node and begins to follow
// metadata. It returns once the node serves. A controller that does not answer
// is asked again until ctx ends.
func (s *Service) Start(ctx context.Context) error {
	if err := s.takeDataDir(); err != nil {
		return err
	}
	s.life, s.endLoops = context.WithCancel(context.WithoutCancel(ctx))
	s.loops.Go(s.flusher.run)
	if err := s.register(ctx); err != nil {
		s.abandon()
		return err
	}
	s.reconcile()
	for _, loop := range []func(context.Context){s.watch, s.heartbeat, s.keep, s.retain, s.isr.run, s.mender.run, s.scrub} {
		s.loops.Go(func() { loop(s.life) })
	}
	return nil
}

// abandon undoes a Start that failed.
func (s *Service) abandon() {
	s.halt()
	_ = s.lock.Close() // the failure of Start is what is told
}

// Ready returns nil if the node serves.
func (s *Service) Ready() error {
	if s.nodeEpoch.Load() == 0 {
		return errcode.New(errcode.NodeUnavailable, "storage node %d is not registered yet", s.cfg.NodeID)
	}
	return s.notDraining()
}

func (s *Service) notDraining() error {
	select {
	case <-s.draining:
		return errcode.New(errcode.ShuttingDown, "storage node %d is shutting down", s.cfg.NodeID)
	default:
		return nil
	}
}

// admit refuses calls that cannot be served: before registration, while the
// node drains, past their deadline (rule G3).
func (s *Service) admit(ctx context.Context) error {
	if err := s.Ready(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return errcode.Of(err)
	}
	return nil
}

// Drain has others lead what this node leads, while it still answers, and then
// refuses new work and ends long polls (N5).
func (s *Service) Drain(ctx context.Context) error {
	err := s.handOver(ctx)
	s.drainOnce.Do(func() { close(s.draining) })
	return err
}

// Stop makes everything durable, leaves the mark of a clean shutdown and gives
// the data directory free. Calls must have ended.
func (s *Service) Stop(context.Context) error {
	s.drainOnce.Do(func() { close(s.draining) })
	if s.endLoops == nil {
		return nil // never started
	}
	s.halt()
	clean := true
	for _, p := range s.snapshot() {
		clean = p.close() && clean
	}
	var err error
	if clean {
		err = s.writeCleanShutdown()
	}
	if e := s.lock.Close(); err == nil {
		err = e
	}
	return err
}

// halt ends all goroutines, and the streams of followers.
func (s *Service) halt() {
	close(s.stopping)
	s.endLoops()
	s.workers.stop()
	s.flusher.stop()
	s.loops.Wait()
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
