package storagenode

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

const (
	// frameBytes is about how much goes into one frame; a batch may be larger.
	frameBytes = 1 << 20
	// signInterval is how often either side of a stream says something;
	// silenceLimit is how long it may be silent (G2).
	signInterval = time.Second
	silenceLimit = 5 * time.Second
	// progressInterval is how late a follower that is sent nothing may learn of a
	// high watermark.
	progressInterval = 100 * time.Millisecond
)

// feed is the stream to one follower's node. Whoever has something for it makes
// it a session's turn; one goroutine reads and sends, and never waits for the
// one that receives (G1).
type feed struct {
	node   *Service
	hello  storageclient.ReplicaHello
	stream storageclient.LeaderStream
	// kick holds one token where there may be something to send, and kickBehind
	// where there may be something to read for those that catch up.
	kick, kickBehind chan struct{}

	// life is held while what the follower says is taken; after closed is set, under
	// both, nothing is.
	life sync.Mutex

	mu       sync.Mutex
	sessions map[uint32]*session // by handle
	answers  []storageclient.SessionAnswer
	ready    []*session // are in sync, and lack something
	behind   []*session // are catching up
	stale    []*session // know an older high watermark
	due      []*session // are to be told now
	prepared *piece     // was read for one that catches up
	// underWay are bytes sent and not taken yet.
	underWay int64
	closed   bool
}

// ServeReplica implements storageclient.Replicator: it serves a follower's node
// until either side goes.
func (s *Service) ServeReplica(stream storageclient.LeaderStream) error {
	ctx := stream.Context()
	if err := s.admit(ctx); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.Hello
	if hello == nil || hello.ClusterID != s.identity.ClusterID {
		return errcode.New(errcode.InvalidArgument, "the first message names no node of cluster %s", s.identity.ClusterID).WithField("hello")
	}
	f := &feed{node: s, hello: *hello, stream: stream, sessions: map[uint32]*session{}}
	f.kick, f.kickBehind = make(chan struct{}, 1), make(chan struct{}, 1)
	return f.serve(ctx, first)
}

func (f *feed) serve(ctx context.Context, first *storageclient.FollowerWords) error {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := f.node.clock.AfterFunc(silenceLimit, func() {
		cancel(errcode.New(errcode.NodeUnavailable, "nothing was heard of node %d for %v", f.hello.NodeID, silenceLimit))
	})
	defer silence.Stop()
	var work sync.WaitGroup
	for _, run := range []func(context.Context) error{f.send, f.catchUp} {
		work.Go(func() { cancel(run(ctx)) })
	}
	heard := make(chan error, 1)
	go func() { heard <- f.hear(first, func() { silence.Reset(silenceLimit) }) }()
	var err error
	select {
	case err = <-heard:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-f.node.stopping:
		err = errcode.New(errcode.ShuttingDown, "storage node %d is shutting down", f.node.cfg.NodeID)
	}
	cancel(err)
	work.Wait()
	f.close()
	return err
}

// hear takes what the follower says until the stream ends.
func (f *feed) hear(w *storageclient.FollowerWords, alive func()) error {
	for {
		if err := f.take(w); err != nil {
			return err
		}
		var err error
		if w, err = f.stream.Recv(); err != nil {
			return err
		}
		alive()
	}
}

func (f *feed) take(w *storageclient.FollowerWords) error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.closed {
		return errcode.New(errcode.Canceled, "the stream has ended")
	}
	for i := range w.Resignations {
		r := &w.Resignations[i]
		if p, err := f.node.partition(r.PartitionID); err == nil {
			p.event(replication.Resigned{Node: f.hello.NodeID, LeaderEpoch: r.LeaderEpoch})
		}
	}
	for _, handle := range w.Ends {
		if s := f.session(handle); s != nil {
			s.p.event(replication.Ended{Node: f.hello.NodeID, Session: s.number})
		}
	}
	for i := range w.Begins {
		if err := f.begin(&w.Begins[i]); err != nil {
			return err
		}
	}
	for i := range w.Acks {
		f.ack(&w.Acks[i])
	}
	return nil
}

func (f *feed) session(handle uint32) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[handle]
}

// begin opens a session for a follower that asks for one, or refuses it.
func (f *feed) begin(b *storageclient.SessionBegin) error {
	s := &session{feed: f, handle: b.Handle, number: b.Session, epoch: b.LeaderEpoch, window: b.WindowBytes}
	f.mu.Lock()
	if f.sessions[b.Handle] != nil {
		f.mu.Unlock()
		return errcode.New(errcode.InvalidArgument, "session handle %d is used twice", b.Handle).WithField("begins.handle")
	}
	f.sessions[b.Handle] = s
	f.mu.Unlock()
	p, err := f.node.partition(b.PartitionID)
	if err == nil {
		s.p = p
		_, err = p.open()
	}
	if err != nil {
		s.refuse(errcode.ReasonOf(err))
		return nil
	}
	p.admitFollower(s, replication.Begin{
		Node: f.hello.NodeID, NodeEpoch: f.hello.NodeEpoch, Session: b.Session, LeaderEpoch: b.LeaderEpoch,
		End: b.EndOffset, DurableEnd: b.DurableEnd, LastEpoch: b.LastEpoch,
	})
	return nil
}

func (f *feed) ack(a *storageclient.SessionAck) {
	f.mu.Lock()
	s := f.sessions[a.Handle]
	if s != nil {
		taken := min(max(a.TakenBytes-s.taken, 0), s.sent-s.taken)
		s.taken += taken
		f.underWay -= taken
		f.turn(s)
		f.wakeAll()
	}
	f.mu.Unlock()
	if s == nil {
		return
	}
	s.p.event(replication.Ack{
		Node: f.hello.NodeID, NodeEpoch: f.hello.NodeEpoch, Session: s.number, LeaderEpoch: s.epoch,
		End: a.EndOffset, DurableEnd: a.DurableEnd,
	})
}

// close ends all sessions.
func (f *feed) close() {
	f.life.Lock()
	f.mu.Lock()
	f.closed = true
	all := slices.Collect(maps.Values(f.sessions))
	f.mu.Unlock()
	f.life.Unlock()
	for _, s := range all {
		if s.p != nil {
			s.p.event(replication.Ended{Node: f.hello.NodeID, Session: s.number})
		}
		s.drop()
	}
}

func wake(kick chan struct{}) {
	select {
	case kick <- struct{}{}:
	default: // it is awake
	}
}

// wakeAll has those look again who may have waited for room; the caller holds mu.
func (f *feed) wakeAll() {
	if len(f.ready) > 0 {
		wake(f.kick)
	}
	if len(f.behind) > 0 {
		wake(f.kickBehind)
	}
}

// say queues an answer; the caller holds mu.
func (f *feed) say(a storageclient.SessionAnswer) {
	f.answers = append(f.answers, a)
	wake(f.kick)
}

// send carries frames until the stream ends.
func (f *feed) send(ctx context.Context) error {
	sign := f.node.clock.NewTimer(signInterval)
	defer sign.Stop()
	for {
		frame := f.frame()
		for frame == nil {
			select {
			case <-f.kick:
				frame = f.frame()
			case <-sign.C():
				frame = storageclient.NewLeaderFrame(nil, nil, nil)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := f.stream.Send(frame); err != nil {
			return errors.Join(err, ctx.Err())
		}
		sign.Reset(signInterval)
	}
}
