package storageclient

import (
	"context"
	"sync"
	"sync/atomic"

	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// Replicator is the other side of a storage node: what nodes ask of each other.
// One stream carries all partitions that one node leads to one node that follows
// them.
type Replicator interface {
	// ServeReplica serves one follower's node until the stream ends, and returns why
	// it did.
	ServeReplica(stream LeaderStream) error
}

// Peers opens the streams by which a node follows others. It is safe for
// concurrent use.
type Peers struct {
	opts transport.DialOptions

	mu    sync.Mutex
	local map[int32]Replicator
}

// NewPeers returns peers that are reached by connections of these options.
func NewPeers(opts transport.DialOptions) *Peers {
	if opts.MaxRecvBytes == 0 {
		opts.MaxRecvBytes = maxAnswerBytes
	}
	return &Peers{opts: opts, local: map[int32]Replicator{}}
}

// AddLocal says that a node lives in this process: its stream is no connection.
func (p *Peers) AddLocal(nodeID int32, r Replicator) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local[nodeID] = r
}

// Replicate opens a stream to a node; address is where metadata says that it
// listens. The stream ends with ctx.
func (p *Peers) Replicate(ctx context.Context, nodeID int32, address string) (FollowerStream, error) {
	p.mu.Lock()
	near := p.local[nodeID]
	p.mu.Unlock()
	if near != nil {
		return replicateLocally(ctx, near), nil
	}
	if address == "" {
		return nil, errcode.New(errcode.NodeUnavailable, "storage node %d is not registered", nodeID).With("node", nodeID)
	}
	return replicateFrom(ctx, address, p.opts)
}

// FollowerStream is the follower's end of a stream. Send and Recv may be called
// at once, each by one goroutine; neither waits for the other (rule G1).
type FollowerStream interface {
	// Send says something to the leader's node. The words are not kept.
	Send(w *FollowerWords) error
	// Recv waits for the next frame; Release it.
	Recv() (*LeaderFrame, error)
	// Close ends the stream: Recv and Send fail.
	Close()
}

// LeaderStream is the leader's end of a stream. Send and Recv may be called at
// once, each by one goroutine.
type LeaderStream interface {
	// Context ends with the stream.
	Context() context.Context
	// Send hands a frame over, with its bytes, which are released once they were
	// sent or will not be.
	Send(f *LeaderFrame) error
	Recv() (*FollowerWords, error)
}

// FollowerWords is one message of a follower's node. An empty one is a sign of
// life.
type FollowerWords struct {
	Hello        *ReplicaHello // in the first message only
	Begins       []SessionBegin
	Acks         []SessionAck
	Ends         []uint32 // handles of sessions that are given up
	Resignations []Resignation
}

// ReplicaHello tells who follows.
type ReplicaHello struct {
	ClusterID   string
	NodeID      int32
	NodeEpoch   int64
	WindowBytes int64 // of batches under way on the stream
}

// SessionBegin asks for one partition (R1).
type SessionBegin struct {
	PartitionID
	Handle                uint32 // names the session on this stream, once
	Session               uint64
	LeaderEpoch           int32
	EndOffset, DurableEnd int64
	LastEpoch             int32 // of the last record, or -1
	WindowBytes           int64 // of batches under way in the session
}

// SessionAck tells how far the follower is (R5).
type SessionAck struct {
	Handle                uint32
	EndOffset, DurableEnd int64
	TakenBytes            int64 // of batches, since the session began
}

// Resignation says that the node leads a partition in no epoch before
// LeaderEpoch (R12).
type Resignation struct {
	PartitionID
	LeaderEpoch int32
}

// LeaderFrame is one message of the leader's node. An empty one is a sign of
// life.
type LeaderFrame struct {
	Answers []SessionAnswer
	Data    []SessionData

	users   atomic.Int32 // beside the one who made it
	release func()
}

// NewLeaderFrame returns a frame whose last Release calls release, which may be
// nil.
func NewLeaderFrame(answers []SessionAnswer, data []SessionData, release func()) *LeaderFrame {
	return &LeaderFrame{Answers: answers, Data: data, release: release}
}

// Retain makes one more Release needed.
func (f *LeaderFrame) Retain() { f.users.Add(1) }

// Release gives the frame's bytes back, with the last call. They are not to be
// used afterwards.
func (f *LeaderFrame) Release() {
	if f.users.Add(-1) < 0 && f.release != nil {
		f.release()
		f.release = nil
	}
}

// SessionAnswer is the leader's word on one session: one of the four.
type SessionAnswer struct {
	Handle  uint32
	Accept  *SessionAccept
	Diverge *EpochEnd
	Reset   *int64 // the offset at which the leader's log starts
	Refuse  errcode.Reason
}

// SessionAccept says where data begins.
type SessionAccept struct {
	From                    int64
	HighWatermark, LogStart int64
}

// SessionData brings all that the leader's log holds in [Base, End).
type SessionData struct {
	Handle                  uint32
	Base, End               int64
	HighWatermark, LogStart int64
	Batches                 []byte // whole batches; valid until the frame's Release
}
