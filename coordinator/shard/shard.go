package shard

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
)

// Config names a shard and bounds it.
type Config struct {
	// Name of what the machine coordinates, such as `group`, for the log.
	Name string
	// Shard is its index, which is that of its partition.
	Shard int32
	// Epoch under which metadata gives the shard to this coordinator.
	Epoch int64
	// Topic that holds the journals.
	Topic string
	// AppendTimeout bounds how long an append is tried before its outcome counts
	// as unknown.
	AppendTimeout time.Duration
	// CallTimeout bounds one call to a storage node.
	CallTimeout time.Duration
	// MaxWaiting bounds the requests that wait for their answer at once.
	MaxWaiting int
}

// inboxSize bounds the requests that wait for their Step.
const inboxSize = 256

// Deps are what a shard stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	Nodes    journal.Nodes
	Metrics  *Metrics
	// NewMachine returns a machine that knows nothing yet.
	NewMachine func() Machine
	// Do makes a machine's Call; nil where it makes none. It must return soon
	// after its context is done.
	Do func(ctx context.Context, message any) (any, error)
	// Owned tells whether the shard is this coordinator's under Config.Epoch at
	// this moment. It is asked before each answer, and must not block.
	Owned func() bool
}

// Shard is one shard that this coordinator owns, from Start to Stop.
//
//	         journal replayed             append's outcome unknown
//	LOADING ──────────────────▶ SERVING ───────────────────────────▶ LOADING …
//	   │                           │ storage knows a newer owner
//	   └───────────────────────────┴─────────────────────────▶ LOST
//
// It answers COORDINATOR_LOADING while it loads and NOT_COORDINATOR once it is
// lost or stopped. Safe for concurrent use.
type Shard struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	inbox  chan *question
	state  atomic.Int32
	stop   context.CancelFunc
	wanted context.Context // done once Stop is called
	ended  chan struct{}   // closed when nothing of the shard runs any more
}

// State is where a shard is in its life.
type State int32

// The states.
const (
	Loading State = iota
	Serving
	Lost
)

// String returns the state's name.
func (s State) String() string { return [...]string{"loading", "serving", "lost"}[s] }

// question is one Ask under way.
type question struct {
	ctx     context.Context
	message any
	answer  chan answer // one slot
}

type answer struct {
	message any
	err     error
}

// Start begins to load the shard and returns at once.
func Start(cfg Config, deps Deps) *Shard {
	wanted, stop := context.WithCancel(context.Background())
	s := &Shard{
		cfg: cfg, deps: deps, inbox: make(chan *question, inboxSize),
		wanted: wanted, stop: stop, ended: make(chan struct{}),
		log: deps.Log.With(slog.String("machine", cfg.Name), slog.Int64("shard", int64(cfg.Shard)), slog.Int64("shard_epoch", cfg.Epoch)),
	}
	go s.run()
	return s
}

// State returns where the shard is in its life; a nil Shard is loading.
func (s *Shard) State() State {
	if s == nil {
		return Loading
	}
	return State(s.state.Load())
}

// Epoch is the epoch that the shard was started with.
func (s *Shard) Epoch() int64 { return s.cfg.Epoch }

// Stop makes the shard serve no longer. It waits for an append that is under
// way, so that whoever owns the shard next finds all that was answered, and
// returns when nothing of the shard runs any more. It may be called again.
func (s *Shard) Stop() {
	s.stop()
	<-s.ended
}

// Ask gives the machine a Request and waits for its Reply, or for ctx to end:
// what was asked may happen all the same then. A nil Shard is one that is being
// taken over: it is loading.
func (s *Shard) Ask(ctx context.Context, message any) (any, error) {
	switch {
	case s == nil:
		return nil, errcode.New(errcode.CoordinatorLoading, "the shard is being taken over")
	case s.wanted.Err() != nil || !s.deps.Owned():
		return nil, s.notCoordinator()
	case s.State() == Loading:
		return nil, s.loading()
	}
	q := &question{ctx: ctx, message: message, answer: make(chan answer, 1)}
	select {
	case s.inbox <- q:
	case <-ctx.Done():
		return nil, errcode.Of(ctx.Err())
	case <-s.ended:
		return nil, s.notCoordinator()
	}
	select {
	case a := <-q.answer:
		return a.message, a.err
	case <-ctx.Done():
		return nil, errcode.Of(ctx.Err())
	case <-s.ended:
	}
	select {
	case a := <-q.answer: // just before the end
		return a.message, a.err
	default:
		return nil, s.notCoordinator()
	}
}

// Ask asks a shard for an answer of a known type.
func Ask[A any](ctx context.Context, s *Shard, message any) (*A, error) {
	a, err := s.Ask(ctx, message)
	if err != nil {
		return nil, errcode.Of(err)
	}
	return a.(*A), nil
}

func (s *Shard) notCoordinator() error {
	return errcode.New(errcode.NotCoordinator, "this coordinator does not own shard %d", s.cfg.Shard)
}

func (s *Shard) loading() error {
	return errcode.New(errcode.CoordinatorLoading, "shard %d is reading its journal", s.cfg.Shard)
}

// unknown answers whoever waited when the machine was thrown away.
func (s *Shard) unknown() error {
	return errcode.New(errcode.CoordinatorUnavailable, "shard %d could not make sure that it was durable", s.cfg.Shard)
}

// run is the shard's one goroutine: a life after the other, until Stop.
func (s *Shard) run() {
	defer close(s.ended)
	for s.wanted.Err() == nil {
		l := s.load()
		if l == nil {
			break
		}
		s.enter(Serving)
		err := l.serve()
		l.end()
		if err != nil && s.wanted.Err() == nil {
			s.deps.Metrics.Unloads.Inc()
			s.log.Warn("reading the journal anew", telemetry.Err(err))
		}
		s.enter(Loading)
	}
	s.refuseUntil(s.wanted.Done(), s.notCoordinator)
	s.refuseQueued(s.notCoordinator())
}

func (s *Shard) enter(state State) {
	s.state.Store(int32(state))
	s.log.Debug("shard", slog.String("state", state.String()))
}

// refuseUntil answers all questions with an error until done is closed.
func (s *Shard) refuseUntil(done <-chan struct{}, err func() error) {
	for {
		select {
		case q := <-s.inbox:
			q.answer <- answer{err: err()}
		case <-done:
			return
		}
	}
}

func (s *Shard) refuseQueued(err error) {
	for {
		select {
		case q := <-s.inbox:
			q.answer <- answer{err: err}
		default:
			return
		}
	}
}

func nonce() (n [16]byte) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}
