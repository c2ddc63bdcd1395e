package replication

import (
	"fmt"
	"time"
)

// Follower is one replica that follows a leader in one leader epoch.
//
//	          ┌──────────── Diverge, Reset ◀───────────┐
//	          ▼                                        │
//	detached ─ Attached ─▶ asked ─ Accept ─▶ following ┤ Data: Append, Ack
//	          ▲              │ Refuse           │      │
//	          │              ▼                  │ gap  ▼
//	          └─ Detached ─ waiting ─ Tick ─▶ asked   cutting ─ Cut ─▶ asked
type Follower struct {
	cfg     Config
	self    Local
	durable bool
	epoch   int32

	phase    phase
	attached bool // there is a connection
	again    bool // ask once the Append under way is answered
	// session is the last one asked for; it grows with each.
	session uint64
	// end and flushed are the own log's, hw its high watermark: it moves only while
	// the log is known to be a prefix of the leader's (invariant 9).
	end, flushed, hw int64
	leader           Progress // as of the session
	writing          bool     // an Append is under way
	acked            Ack      // the last one

	retryAt time.Time
	pause   time.Duration
	out     []Effect
}

type phase int8

const (
	detached phase = iota
	asked
	waiting
	cutting
	following
)

// NewFollower returns a follower in p's leader epoch, without a connection.
// session is the last one that the replica used in this life of its node: those
// of the follower are above it.
func NewFollower(cfg Config, self Local, p Partition, session uint64) *Follower {
	return &Follower{
		cfg: cfg, self: self, durable: p.Durable, epoch: p.LeaderEpoch, session: session,
		end: self.End, flushed: self.DurableEnd, hw: min(self.HighWatermark, self.End), pause: cfg.RetryMin,
	}
}

// Step takes one event: Attached, Detached, Accept, Diverge, Reset, Refuse, Data,
// Wrote, Flushed, Cut, Metadata or Tick. Data comes only after the Append before
// it was answered by Wrote.
func (f *Follower) Step(now time.Time, e Event) []Effect {
	f.out = f.out[:0]
	switch e := e.(type) {
	case Attached:
		f.attached = true
		f.ask()
	case Detached:
		f.attached, f.again = false, false
		f.session++ // whatever is still under way on the old connection is void
		if f.phase != cutting {
			f.phase = detached
		}
	case Accept:
		f.accept(&e)
	case Diverge:
		f.diverge(&e)
	case Reset:
		f.reset(&e)
	case Refuse:
		f.refused(now, &e)
	case Data:
		f.data(&e)
	case Wrote:
		f.wrote(e.End)
	case Flushed:
		f.flushed = max(f.flushed, e.End)
		f.ack()
	case Cut:
		f.cut(&e)
	case Metadata:
		f.durable = e.Partition.Durable
		f.ack()
	case Tick:
		if f.phase == waiting && !now.Before(f.retryAt) {
			f.ask()
		}
	default:
		panic(fmt.Sprintf("replication: a follower takes no %T", e))
	}
	return f.out
}

func (f *Follower) emit(e Effect) { f.out = append(f.out, e) }

// current tells whether a frame belongs to what is going on (R5).
func (f *Follower) current(session uint64, epoch int32) bool {
	return session == f.session && epoch == f.epoch
}

// ask begins a session; its first frame says how the own log ends (R1). While
// that is about to change it waits.
func (f *Follower) ask() {
	if !f.attached || f.phase == cutting {
		return
	}
	f.again = f.writing
	f.session++
	if f.writing {
		f.phase = detached
		return
	}
	f.phase, f.acked = asked, Ack{End: f.end, DurableEnd: f.flushed} // as the Begin says
	f.emit(Begin{
		Node: f.self.Node, NodeEpoch: f.self.NodeEpoch, Session: f.session, LeaderEpoch: f.epoch,
		End: f.end, DurableEnd: f.flushed, LastEpoch: f.self.Log.LatestEpoch(),
	})
}

func (f *Follower) accept(a *Accept) {
	if f.phase != asked || !f.current(a.Session, a.LeaderEpoch) {
		return
	}
	if a.From != f.end {
		f.ask()
		return
	}
	f.phase, f.pause = following, f.cfg.RetryMin
	f.progress(a.Progress)
	f.ack()
}

// diverge cuts what the leader does not have, before anything else of the leader
// counts (R2, R4).
func (f *Follower) diverge(d *Diverge) {
	if f.phase != asked || !f.current(d.Session, d.LeaderEpoch) {
		return
	}
	f.phase = cutting
	to := cutPoint(f.self.Log, f.end, d.End)
	if to < f.self.Log.StartOffset() {
		f.emit(Restart{Start: to, BelowHW: to < f.hw})
		return
	}
	f.emit(Truncate{To: to, BelowHW: to < f.hw})
}

// reset gives up the log: the leader's begins after its end.
func (f *Follower) reset(r *Reset) {
	if f.phase != asked && f.phase != following || f.writing || !f.current(r.Session, r.LeaderEpoch) {
		return
	}
	if r.Start <= f.end {
		f.ask() // it was said of a log that has grown since
		return
	}
	f.phase = cutting
	f.emit(Restart{Start: r.Start, BelowHW: r.Start < f.hw})
}

// cut goes on from a log that was cut. An empty one is committed as far as it
// goes: its start, end and high watermark are one (R4).
func (f *Follower) cut(c *Cut) {
	f.end, f.flushed = c.End, min(c.DurableEnd, c.End)
	f.hw = min(f.hw, c.End)
	if c.Start == c.End {
		f.hw = c.End
	}
	f.phase = detached
	f.ask()
}

func (f *Follower) refused(now time.Time, r *Refuse) {
	if f.phase != asked && f.phase != following || !f.current(r.Session, r.LeaderEpoch) {
		return
	}
	f.phase, f.retryAt = waiting, now.Add(f.pause)
	f.pause = min(2*f.pause, f.cfg.RetryMax)
	f.emit(Wake{f.retryAt})
}

// data takes batches that go on where the log ends; after a gap the session
// begins anew (R5).
func (f *Follower) data(d *Data) {
	if f.phase != following || f.writing || !f.current(d.Session, d.LeaderEpoch) {
		return
	}
	if d.Base != f.end || d.End < d.Base {
		f.ask()
		return
	}
	f.leader = d.Progress
	if d.End > d.Base {
		f.writing = true
		f.emit(Append{d.End})
		return
	}
	f.progress(f.leader)
}

func (f *Follower) wrote(end int64) {
	f.writing = false
	f.end = max(f.end, end)
	if f.again {
		f.ask()
	}
	if f.phase == following {
		f.progress(f.leader)
	}
	f.ack()
}

// progress lets high watermark and log start follow the leader's, as far as the
// own log goes (invariants 8 and 9).
func (f *Follower) progress(p Progress) {
	f.leader = p
	if hw := min(p.HighWatermark, f.end); hw > f.hw {
		f.hw = hw
		f.emit(AdvanceHW{hw})
	}
	if start := min(p.LogStart, f.hw); start > f.self.Log.StartOffset() {
		f.emit(RaiseStart{start})
	}
}

// ack tells the leader what counts now and did not before (R5).
func (f *Follower) ack() {
	if f.phase != following || counted(f.durable, f.end, f.flushed) <= counted(f.durable, f.acked.End, f.acked.DurableEnd) {
		return
	}
	f.acked = Ack{
		Node: f.self.Node, NodeEpoch: f.self.NodeEpoch, Session: f.session, LeaderEpoch: f.epoch,
		End: f.end, DurableEnd: f.flushed,
	}
	f.emit(f.acked)
}

// HighWatermark is the offset before which all is known to be committed.
func (f *Follower) HighWatermark() int64 { return f.hw }

// Session is the last one asked for.
func (f *Follower) Session() uint64 { return f.session }

// Following tells whether the log is a prefix of the leader's, and grows with
// it.
func (f *Follower) Following() bool { return f.phase == following }
