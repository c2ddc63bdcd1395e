package storagenode

import (
	"time"

	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/replication"
)

// step lets the core take an event, if it is of the kind that the core is about,
// and carries out what it wants. The caller holds replica.mu.
func (p *partition) step(e replication.Event) {
	r, now := &p.replica, p.node.clock.Now()
	switch e.(type) {
	case replication.Metadata, replication.Tick, replication.Flushed:
		if r.leader != nil {
			p.carry(r.leader.Step(now, e))
			p.reflect()
		} else if r.follower != nil {
			p.carry(r.follower.Step(now, e))
		}
	case replication.Appended, replication.Begin, replication.Ack, replication.Ended, replication.Overtaken,
		replication.Resigned, replication.Altered:
		if r.leader != nil {
			p.carry(r.leader.Step(now, e))
			p.reflect()
		}
	default:
		if r.follower != nil {
			p.carry(r.follower.Step(now, e))
		}
	}
}

// event is step for a caller that holds no lock of the replica.
func (p *partition) event(e replication.Event) {
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	p.step(e)
}

// appended tells the core, and those who are sent what it holds, that the log
// grew. The caller holds mu.
func (p *partition) appended(end int64) {
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	p.step(replication.Appended{End: end})
	p.replica.grown()
}

// flushed tells the core how far the log is durable, unless it was cut since the
// flush began.
func (p *partition) flushed(end, cuts int64) {
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	if p.replica.cuts.Load() == cuts {
		p.step(replication.Flushed{End: end})
	}
}

// reflect shows what readers and writers ask the leader for; the caller holds
// replica.mu.
func (p *partition) reflect() {
	l := p.replica.leader
	p.replica.known.Store(l.Known())
	p.replica.alone.Store(l.Alone())
}

// carry does what the core wants done; the caller holds replica.mu. Work on the
// log is left to the worker that brought the event.
func (p *partition) carry(effects []replication.Effect) {
	r := &p.replica
	for _, e := range effects {
		switch e := e.(type) {
		case replication.AdvanceHW:
			p.highWatermark.Store(e.HighWatermark)
			p.waiting.wake(e.HighWatermark)
			for _, s := range r.sessions {
				s.feed.progressed(s)
			}
		case replication.Accept:
			p.session(e.Node, e.Session).accept(e)
		case replication.Diverge:
			p.endSession(e.Node, e.Session).diverge(e.End)
		case replication.Reset:
			p.endSession(e.Node, e.Session).reset(e.Start)
		case replication.Refuse:
			p.endSession(e.Node, e.Session).refuse(e.Reason)
		case replication.Drop:
			p.endSession(e.Node, e.Session).drop()
		case replication.Propose:
			p.node.isr.propose(p, e)
		case replication.ISRChanged:
			p.isrChanged(e)
		case replication.Serve:
			r.former = nil
			p.waiting.wakeAll()
		case replication.Wake:
			p.wakeAt(e.At)
		case replication.Begin:
			r.last = e.Session
			r.handle = r.link.begin(p, r.handle, e)
		case replication.Ack:
			r.link.acked(r.handle, e)
		default: // Append, Truncate, Restart, RaiseStart
			r.heavy = append(r.heavy, e)
		}
	}
}

// isrChanged shows how many are in sync, and has those look again who wait for a
// commit.
func (p *partition) isrChanged(e replication.ISRChanged) {
	r, role := &p.replica, p.role.Load()
	r.inSync.Store(int32(len(e.ISR)))
	r.minISR.Store(int32(r.leader.MinISR()))
	p.node.metrics.isrGrown.Add(float64(e.Grown))
	p.node.metrics.isrShrunk.Add(float64(e.Shrunk))
	if e.Grown+e.Shrunk > 0 {
		p.node.log.Info("in-sync replicas changed", telemetry.Topic(role.topic), telemetry.Partition(p.id.Index), "isr", e.ISR)
	}
	p.waiting.wakeAll()
}

// wakeAt arms the core's timer.
func (p *partition) wakeAt(at time.Time) {
	r := &p.replica
	after := max(at.Sub(p.node.clock.Now()), 0)
	if r.wake == nil {
		r.wake = p.node.clock.AfterFunc(after, func() { p.event(replication.Tick{}) })
		return
	}
	r.wake.Reset(after)
}
