package replication

import (
	"slices"
	"time"

	"moldau.dev/services/errcode"
)

// begin judges a follower that asks for a session (R1, R2).
func (l *Leader) begin(now time.Time, b *Begin) {
	p := l.peer(b.Node)
	switch {
	case b.LeaderEpoch < l.epoch:
		l.refuse(b, errcode.FencedLeaderEpoch)
		return
	case b.LeaderEpoch > l.epoch || b.LastEpoch > l.epoch:
		l.refuse(b, errcode.UnknownLeaderEpoch)
		return
	case p == nil:
		l.refuse(b, errcode.IneligibleReplica)
		return
	case b.NodeEpoch < max(p.NodeEpoch, p.sessionEpoch):
		l.refuse(b, errcode.StaleNodeEpoch)
		return
	case b.NodeEpoch == p.sessionEpoch && b.Session <= p.last:
		return // overtaken by one that came after it
	}
	l.drop(p)
	p.sessionEpoch, p.last = b.NodeEpoch, b.Session
	p.end, p.flushed = -1, -1 // what it said before it may have lost
	l.takeResignation(b.Node) // who follows in this epoch leads in none before
	h := history{log: l.self.Log, epoch: l.epoch, began: l.began, end: l.end}
	v := h.compare(b.End, b.LastEpoch)
	switch {
	case v.diverge != nil:
		l.emit(Diverge{Node: b.Node, Session: b.Session, LeaderEpoch: l.epoch, End: *v.diverge})
	case v.reset:
		l.emit(Reset{Node: b.Node, Session: b.Session, LeaderEpoch: l.epoch, Start: l.self.Log.StartOffset()})
	default:
		p.session = b.Session
		p.sampleAt, p.sampleEnd = now, l.end
		p.end, p.flushed = b.End, min(b.DurableEnd, b.End)
		l.emit(Accept{Node: b.Node, Session: b.Session, LeaderEpoch: l.epoch, From: v.from, Progress: l.Progress()})
		l.heard(now, p)
	}
	l.settle(now)
}

// ack takes a follower's word for how far its log reaches; that of another
// epoch, session or incarnation is dropped (R5).
func (l *Leader) ack(now time.Time, a *Ack) {
	p := l.peer(a.Node)
	if p == nil || a.LeaderEpoch != l.epoch || p.session == 0 || a.Session != p.session || a.NodeEpoch != p.sessionEpoch {
		return
	}
	if a.End > l.end { // what nobody sent
		l.emit(Refuse{Node: a.Node, Session: a.Session, LeaderEpoch: l.epoch, Reason: errcode.OffsetOutOfRange})
		l.drop(p)
		return
	}
	p.end, p.flushed = max(p.end, a.End), max(p.flushed, min(a.DurableEnd, a.End))
	l.heard(now, p)
	l.advance(now)
	if !p.inISR && l.counted(p) >= max(l.hw, l.began) {
		l.review(now)
	}
}

// heard notes since when a follower has had all (as Kafka's Replica does: what
// the leader had when it was last heard, it has had since then).
func (l *Leader) heard(now time.Time, p *peer) {
	have := l.counted(p)
	switch {
	case have >= l.end:
		p.caughtUp = now
	case have >= p.sampleEnd && p.sampleAt.After(p.caughtUp):
		p.caughtUp = p.sampleAt
	default:
		return
	}
	p.sampleAt, p.sampleEnd = now, l.end
}

// drop ends a follower's session.
func (l *Leader) drop(p *peer) {
	if p.session != 0 {
		l.emit(Drop{Node: p.Node, Session: p.session})
		p.session = 0
	}
}

func (l *Leader) ended(node int32, session uint64) {
	if p := l.peer(node); p != nil && p.session == session {
		l.drop(p)
	}
}

func (l *Leader) overtaken(e *Overtaken) {
	p := l.peer(e.Node)
	if p == nil || p.session == 0 || p.session != e.Session {
		return
	}
	l.emit(Reset{Node: e.Node, Session: e.Session, LeaderEpoch: l.epoch, Start: l.self.Log.StartOffset()})
	l.drop(p)
}

func (l *Leader) resigned(now time.Time, e Resigned) {
	if e.LeaderEpoch >= l.epoch {
		l.takeResignation(e.Node)
		l.settle(now)
	}
}

func (l *Leader) takeResignation(node int32) {
	l.former = slices.DeleteFunc(l.former, func(f int32) bool { return f == node })
}
