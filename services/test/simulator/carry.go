package simulator

import (
	"slices"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/replication"
)

// carry does what a core wants done. Between any two effects the node may die.
func (r *replica) carry(effects []replication.Effect) {
	for _, e := range slices.Clone(effects) {
		r.n.w.point(r.n.proc)
		switch e := e.(type) {
		case replication.Begin:
			r.session = e.Session
			r.toLeader("begin", func(l *replica, c *conn) { l.begun(c, e) })
		case replication.Ack:
			r.toLeader("ack", func(l *replica, _ *conn) {
				if l.leader != nil {
					l.stepLeader(e)
				}
			})
		case replication.Accept:
			r.accept(e)
		case replication.Diverge:
			r.toFollower(e.Node, "diverge", e, true)
		case replication.Reset:
			r.toFollower(e.Node, "reset", e, true)
		case replication.Refuse:
			r.toFollower(e.Node, "refuse", e, true)
		case replication.Drop:
			if s := r.senders[e.Node]; s != nil && s.session == e.Session {
				s.over = true
			}
		case replication.AdvanceHW:
			r.advance(e.HighWatermark)
		case replication.Propose:
			r.propose(e)
		case replication.Wake:
			r.wake(e.At)
		case replication.Append:
			r.append()
		case replication.Truncate:
			r.truncate(e)
		case replication.Restart:
			r.n.w.fail("node %d, partition %d: restart at %d, though no log starts after 0", r.n.id, r.part, e.Start)
		case replication.RaiseStart, replication.ISRChanged, replication.Serve:
		default:
			r.n.w.fail("no such effect: %T", e)
		}
	}
}

// toLeader sends a frame to the leader that is followed.
func (r *replica) toLeader(what string, do func(l *replica, c *conn)) {
	c := r.n.peers[r.leaderNode].conn
	if c == nil {
		return
	}
	to := r.n.w.nodes[r.leaderNode]
	c.send(1, what, func() { do(to.replicas[r.part], c) })
}

// begun is a Begin that has arrived.
func (r *replica) begun(c *conn, b replication.Begin) {
	if r.leader == nil {
		f := r.n.w.nodes[b.Node].replicas
		refuse := replication.Refuse{Node: b.Node, Session: b.Session, LeaderEpoch: b.LeaderEpoch, Reason: errcode.NotLeader}
		c.send(0, "refuse", func() { f[r.part].frame(refuse) })
		return
	}
	r.senders[b.Node] = &sender{r: r, to: b.Node, conn: c, session: b.Session, over: true}
	r.stepLeader(b)
}

// toFollower sends a frame on the connection on which the session was asked for.
func (r *replica) toFollower(to int32, what string, e replication.Event, ends bool) {
	s := r.senders[to]
	if s == nil {
		return
	}
	s.over = s.over || ends
	f := r.n.w.nodes[to]
	s.conn.send(0, what, func() { f.replicas[r.part].frame(e) })
}

// frame is what a leader sent, at the follower.
func (r *replica) frame(e replication.Event) {
	if r.follower != nil {
		r.stepFollower(e)
	}
}

// advance lets the high watermark follow the core's.
func (r *replica) advance(hw int64) {
	r.n.w.checkAdvance(r, hw)
	r.hw = hw
	if r.leader == nil {
		return
	}
	r.answer()
	for _, id := range sorted(r.senders) {
		r.senders[id].kick()
	}
}

// answer tells those whose appends are committed, unless the leader is alone and
// its lease has run out (R12).
func (r *replica) answer() {
	if r.leader.Alone() && !r.n.lease.Held(r.n.now()) {
		return
	}
	kept := r.waiting[:0]
	for _, w := range r.waiting {
		if w.end <= r.hw {
			w.done(true)
		} else {
			kept = append(kept, w)
		}
	}
	r.waiting = kept
}

// propose asks the controller for other in-sync replicas (R9).
func (r *replica) propose(q replication.Propose) {
	c, epoch, nodeEpoch := r.n.w.controllers[r.n.w.activeController()], r.epoch, r.n.epoch
	call(r.n.w, r.n.proc, c.proc, "alter partition", time.Second, func(reply func(altered)) {
		c.alter(r.part, r.n.id, nodeEpoch, q, reply)
	}, func(a altered, err error) {
		if err != nil {
			a.reason = errcode.RequestTimedOut
		}
		r.n.w.note("altered "+string(a.reason), int(r.n.id), r.part, int(q.PartitionEpoch))
		if r.leader != nil && r.epoch == epoch {
			r.stepLeader(replication.Altered{PartitionEpoch: q.PartitionEpoch, Reason: a.reason, Partition: a.part})
		}
	})
}

// wake arms the core's one timer.
func (r *replica) wake(at time.Time) {
	r.wakes++
	mine := r.wakes
	d := time.Duration(float64(at.Sub(r.n.now()))/r.n.proc.rate) + time.Microsecond
	r.n.w.after(r.n.proc, d, "tick", func() {
		switch {
		case mine != r.wakes:
		case r.leader != nil:
			r.stepLeader(replication.Tick{})
		case r.follower != nil:
			r.stepFollower(replication.Tick{})
		}
	})
}

// arrive is a Data frame with its batches; those that come while one is written
// wait.
func (r *replica) arrive(d incoming) {
	if r.follower == nil {
		return
	}
	r.incoming = append(r.incoming, d)
	if !r.writing {
		r.take()
	}
}

func (r *replica) take() {
	for len(r.incoming) > 0 && !r.writing && r.follower != nil {
		d := r.incoming[0].data
		r.stepFollower(d)
		if !r.writing {
			r.incoming = r.incoming[1:]
		}
	}
}

// append writes the batches of the frame that is at the head.
func (r *replica) append() {
	r.writing = true
	b, epoch, mine := r.incoming[0].batches, r.epoch, r.follower
	r.incoming = r.incoming[1:]
	for len(b) > 0 {
		r.n.w.point(r.n.proc)
		batch, rest, h, err := record.Next(b)
		if err == nil {
			_, err = record.Verify(batch)
		}
		if err != nil {
			r.n.w.fail("node %d: %v", r.n.id, err)
		}
		r.write(batch, &h)
		b = rest
	}
	r.dirty = true
	r.n.flush()
	r.n.w.after(r.n.proc, r.soon(), "wrote", func() {
		if r.follower == mine && r.epoch == epoch {
			r.writing = false
			r.stepFollower(replication.Wrote{End: r.log.EndOffset()})
			r.take()
		}
	})
}

// write puts one batch at the log's end.
func (r *replica) write(batch []byte, h *record.Header) {
	r.producers.Begin(h)
	if err := r.log.Append(batch, *h, beginning); err != nil {
		r.n.w.fail("node %d, partition %d: append: %v", r.n.id, r.part, err)
	}
	r.producers.Apply(batch, h, 0)
}

// truncate cuts the log, and what was derived from it (R3).
func (r *replica) truncate(t replication.Truncate) {
	r.n.w.checkTruncate(r, t)
	if err := r.log.Truncate(t.To); err != nil {
		r.n.w.fail("node %d: truncate: %v", r.n.id, err)
	}
	r.n.w.point(r.n.proc)
	r.replay()
	r.hw = min(r.hw, r.log.EndOffset())
	mine := r.follower
	r.n.w.after(r.n.proc, r.soon(), "cut", func() {
		if r.follower == mine {
			r.stepFollower(replication.Cut{Start: r.log.StartOffset(), End: r.log.EndOffset(), DurableEnd: r.log.DurableEnd()})
		}
	})
}
