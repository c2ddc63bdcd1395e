package simulator

import (
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/replication"
)

// sender pushes a leader's log to one follower, from where the session was
// accepted on.
type sender struct {
	r       *replica
	to      int32
	conn    *conn
	session uint64
	next    int64 // offset
	told    replication.Progress
	armed   bool
	over    bool
}

func (r *replica) accept(a replication.Accept) {
	s := r.senders[a.Node]
	if s == nil || s.session != a.Session {
		return
	}
	s.over, s.next, s.told = false, a.From, a.Progress
	f := r.n.w.nodes[a.Node]
	s.conn.send(0, "accept", func() { f.replicas[r.part].frame(a) })
	s.kick()
}

// kick sends, soon, what the follower does not have yet.
func (s *sender) kick() {
	if s.armed || s.over {
		return
	}
	s.armed = true
	wait := s.r.soon()
	if f := s.r.n.w.nodes[s.to]; f.slowTo > s.r.n.w.now {
		wait += s.r.n.w.upTo(200 * time.Millisecond)
	}
	s.r.n.w.after(s.r.n.proc, wait, "push", func() {
		s.armed = false
		s.push()
	})
}

func (s *sender) push() {
	r := s.r
	if s.over || r.leader == nil || r.senders[s.to] != s {
		return
	}
	progress := r.leader.Progress()
	d := incoming{data: replication.Data{
		Node: s.to, Session: s.session, LeaderEpoch: r.epoch, Base: s.next, End: s.next, Progress: progress,
	}}
	if s.next < r.log.EndOffset() {
		limit := 200 + r.n.w.rng.IntN(2000)
		if r.n.w.nodes[s.to].slowTo > r.n.w.now {
			limit = 200
		}
		b, err := r.log.Read(s.next, r.log.EndOffset(), limit, true, nil)
		if err != nil {
			r.n.w.fail("node %d, partition %d: read at %d: %v", r.n.id, r.part, s.next, err)
		}
		d.batches, d.data.End = b, endOf(b, s.next)
	}
	if d.data.End == s.next && progress == s.told {
		return
	}
	s.next, s.told = d.data.End, progress
	f := r.n.w.nodes[s.to]
	s.conn.send(0, "data", func() { f.replicas[r.part].arrive(d) })
	s.kick()
}

// endOf is the offset after the last of the batches.
func endOf(b []byte, from int64) int64 {
	for len(b) > 0 {
		_, rest, h, err := record.Next(b)
		if err != nil {
			break
		}
		b, from = rest, h.NextOffset()
	}
	return from
}
