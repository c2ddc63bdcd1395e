package replication

import (
	"fmt"
	"slices"
	"time"

	"moldau.dev/services/errcode"
)

// Leader is one partition's leader in one leader epoch.
//
//	NewLeader ── former leaders gone ──▶ serving ── high watermark ≥ began ──▶ offsets are known
type Leader struct {
	cfg       Config
	self      Local
	durable   bool
	epoch     int32
	partEpoch int32
	minISR    int
	replicas  []Replica
	recover   bool // chosen with loss, and the controller does not know yet that it has recovered

	// began is the log's end when the epoch began (LESO): a follower that has less
	// may lack committed records (R8).
	began int64
	// end and flushed are the own log's.
	end, flushed int64
	// hw never goes back, and never passes what each member of the maximal
	// in-sync replicas holds (R6).
	hw int64

	peers []*peer // the other replicas, by node
	isr   []int32 // committed, in metadata's order

	// pending is the proposal without an outcome, or nil (R7: one at a time).
	pending *proposal
	// quietUntil is when the next proposal may be made, after a refusal.
	quietUntil time.Time

	// former may still answer as leaders, until waitUntil (R12).
	former    []int32
	waitUntil time.Time
	serving   bool

	wakeAt time.Time // zero: none
	out    []Effect
}

// peer is another replica, as its leader knows it.
type peer struct {
	Replica
	session      uint64 // 0: none
	last         uint64 // session, or the last one
	sessionEpoch int64  // node epoch of last
	// end and flushed are -1 until an Ack of this leader epoch told them; they
	// outlive the session.
	end, flushed int64
	caughtUp     time.Time // when it last had all
	sampleAt     time.Time // when the leader's end was sampleEnd
	sampleEnd    int64
	inISR        bool // committed
	// maximal: in the committed in-sync replicas or in those of any proposal whose
	// outcome is not known (R7).
	maximal bool
	// barred is until when the controller's refusal is taken for its answer.
	barred time.Time
}

// NewLeader returns the leader of p's leader epoch, and its first effects. former
// are the nodes that may have led before and are not known to be gone: none
// where self led, or nobody ever did.
func NewLeader(now time.Time, cfg Config, self Local, p Partition, former []int32) (*Leader, []Effect) {
	l := &Leader{
		cfg: cfg, self: self, epoch: p.LeaderEpoch, began: self.End, end: self.End, flushed: self.DurableEnd,
		hw: min(self.HighWatermark, self.End), former: slices.Clone(former), waitUntil: now.Add(cfg.Lease), partEpoch: -1,
	}
	l.adopt(now, &p)
	l.recover = p.Recovering
	l.settle(now)
	return l, l.out
}

// Step takes one event: Appended, Flushed, Begin, Ack, Ended, Overtaken,
// Resigned, Metadata, Altered or Tick.
func (l *Leader) Step(now time.Time, e Event) []Effect {
	l.out = l.out[:0]
	switch e := e.(type) {
	case Appended:
		l.appended(now, e.End)
	case Flushed:
		l.flushed = max(l.flushed, e.End)
		l.advance(now)
	case Begin:
		l.begin(now, &e)
	case Ack:
		l.ack(now, &e)
	case Ended:
		l.ended(e.Node, e.Session)
		l.advance(now)
	case Overtaken:
		l.overtaken(&e)
	case Resigned:
		l.resigned(now, e)
	case Metadata:
		l.metadata(now, &e.Partition)
	case Altered:
		l.altered(now, &e)
	case Tick:
		l.tick(now)
	default:
		panic(fmt.Sprintf("replication: a leader takes no %T", e))
	}
	return l.out
}

func (l *Leader) emit(e Effect) { l.out = append(l.out, e) }

// wake arms the timer, unless it goes off before.
func (l *Leader) wake(at time.Time) {
	if l.wakeAt.IsZero() || at.Before(l.wakeAt) {
		l.wakeAt = at
		l.emit(Wake{at})
	}
}

func (l *Leader) tick(now time.Time) {
	l.wakeAt = time.Time{}
	if p := l.pending; p != nil && !p.retryAt.IsZero() && !now.Before(p.retryAt) {
		p.send(l)
	}
	l.settle(now)
}

// settle does what any change may have made possible.
func (l *Leader) settle(now time.Time) {
	l.serve(now)
	l.advance(now)
	l.review(now)
	l.watch(now)
}

// watch arms the timer for whatever only time changes.
func (l *Leader) watch(now time.Time) {
	if !l.serving {
		l.wake(l.waitUntil)
	}
	if l.pending == nil {
		if now.Before(l.quietUntil) {
			l.wake(l.quietUntil)
		}
	} else if !l.pending.retryAt.IsZero() {
		l.wake(l.pending.retryAt)
	}
	l.watchLag(now)
}

// watchLag arms the timer for the replica that will first have lagged for too
// long.
func (l *Leader) watchLag(now time.Time) {
	for _, p := range l.peers {
		if (p.maximal || l.joins(now, p)) && l.counted(p) < l.end {
			if at := p.caughtUp.Add(l.cfg.LagMax); at.After(now) {
				l.wake(at)
			}
		}
	}
}

// peer returns a replica's peer, or nil.
func (l *Leader) peer(node int32) *peer {
	for _, p := range l.peers {
		if p.Node == node {
			return p
		}
	}
	return nil
}

func (l *Leader) own() int64 { return counted(l.durable, l.end, l.flushed) }

func (l *Leader) counted(p *peer) int64 { return counted(l.durable, p.end, p.flushed) }

// Serving tells whether no other node can still answer as leader.
func (l *Leader) Serving() bool { return l.serving }

// serve begins to, once every former leader has resigned or lost its lease.
func (l *Leader) serve(now time.Time) {
	if !l.serving && (len(l.former) == 0 || !now.Before(l.waitUntil)) {
		l.serving, l.former = true, nil
		l.emit(Serve{})
	}
}

// HighWatermark is the offset before which all is committed.
func (l *Leader) HighWatermark() int64 { return l.hw }

// Known tells whether the newest offsets are known: the high watermark has
// reached what the leader began with, and no other node can answer as leader.
// Else whoever asks for them is answered OFFSET_NOT_AVAILABLE (R8, KIP-207).
func (l *Leader) Known() bool { return l.serving && l.hw >= l.began }

// Began is the log's end when the leader epoch began.
func (l *Leader) Began() int64 { return l.began }

// ISR is the committed in-sync replicas.
func (l *Leader) ISR() []int32 { return l.isr }

// UnderMinISR tells whether there are too few in-sync replicas: nothing is
// committed then.
func (l *Leader) UnderMinISR() bool { return len(l.isr) < l.minISR }

// MinISR is how many in-sync replicas are wanted.
func (l *Leader) MinISR() int { return l.minISR }

// Alone tells whether the leader is the only one that a commit waits for: it must
// hold its lease to answer (R12).
func (l *Leader) Alone() bool {
	return !slices.ContainsFunc(l.peers, func(p *peer) bool { return p.maximal })
}

// PartitionEpoch of the newest state that the leader knows.
func (l *Leader) PartitionEpoch() int32 { return l.partEpoch }

// Progress is what to send along with Data.
func (l *Leader) Progress() Progress { return Progress{l.hw, l.self.Log.StartOffset()} }

// Lag is how many offsets a replica's log is short of the leader's, -1 where it
// is not known; InSync whether it is a committed in-sync replica.
type Lag struct {
	Node    int32
	Offsets int64
	InSync  bool
}

// Lags tells of the other replicas, by node.
func (l *Leader) Lags() []Lag {
	lags := make([]Lag, 0, len(l.peers))
	for _, p := range l.peers {
		lag := Lag{Node: p.Node, Offsets: -1, InSync: p.inISR}
		if p.end >= 0 {
			lag.Offsets = max(l.end-p.end, 0)
		}
		lags = append(lags, lag)
	}
	return lags
}

func (l *Leader) refuse(b *Begin, why errcode.Reason) {
	l.emit(Refuse{Node: b.Node, Session: b.Session, LeaderEpoch: b.LeaderEpoch, Reason: why})
}
