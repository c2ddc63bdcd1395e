package simulator

import (
	"encoding/binary"
	"fmt"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// client follows metadata, as a gateway does, and asks leaders.
type client struct {
	w    *World
	proc *process
	view *image
	do   func(c *client) // its work, once it has a view
	busy bool
}

func (c *client) start() {
	c.view, c.busy = c.w.genesis, false
	c.w.follow(c.proc, c.saw)
}

func (c *client) end() {}

func (c *client) saw(i *image) {
	if i.revision <= c.view.revision {
		return
	}
	c.view = i
	if !c.busy {
		c.busy = true
		c.do(c)
	}
}

// leader returns the node that leads, as far as the client knows.
func (c *client) leader(part int) (*node, int32) { return c.w.leaderIn(c.view, part) }

func (w *World) leaderIn(view *image, part int) (*node, int32) {
	if p := view.parts[part]; p.Leader != cluster.NoLeader {
		return w.nodes[p.Leader], p.LeaderEpoch
	}
	return nil, 0
}

func (c *client) pause() time.Duration { return time.Millisecond + c.w.upTo(50*time.Millisecond) }

// idempotent sends batches of one producer to one partition, several at once; a
// batch that failed, or whose fate is not known, is sent again, with all after
// it, in order (KIP-98).
type idempotent struct {
	pid    int64
	part   int
	seq    int32
	queue  []sent // not acknowledged, in order
	flying int
	failed bool
	known  bool // a batch was acknowledged
}

type sent struct {
	seq    int32
	values []int64
	acked  bool
	away   bool
}

// window is how many batches may be under way. Before the first one is
// acknowledged it is one: a leader that does not know the producer takes any
// sequence for its first (KIP-360).
func (p *idempotent) window() int {
	if p.known {
		return 3
	}
	return 1
}

func (p *idempotent) work(c *client) {
	if c.w.stopped && len(p.queue) == 0 {
		return
	}
	if p.failed && p.flying == 0 {
		p.failed = false
		for i := range p.queue {
			p.queue[i].away = p.queue[i].acked
		}
	}
	for i := 0; i < len(p.queue) && !p.failed && p.flying < p.window(); i++ {
		if !p.queue[i].away {
			p.send(c, p.queue[i].seq)
		}
	}
	for !c.w.stopped && !p.failed && p.flying < p.window() && len(p.queue) < 5 && c.w.chance(40) {
		s := sent{seq: p.seq}
		for range 1 + c.w.rng.IntN(3) {
			c.w.values++
			s.values = append(s.values, c.w.values)
		}
		p.seq += int32(len(s.values))
		p.queue = append(p.queue, s)
		p.send(c, s.seq)
	}
	c.w.after(c.proc, c.pause(), "produce", func() { p.work(c) })
}

func (p *idempotent) batch(s *sent) []byte {
	b := record.NewBuilder(record.BuilderOptions{ProducerID: p.pid, BaseSequence: s.seq})
	for _, v := range s.values {
		b.Append(&record.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(v))})
	}
	batch, err := b.Build(nil)
	if err != nil {
		panic("a batch of small records: " + err.Error())
	}
	return batch
}

func (p *idempotent) find(seq int32) *sent {
	for i := range p.queue {
		if p.queue[i].seq == seq {
			return &p.queue[i]
		}
	}
	return nil
}

func (p *idempotent) send(c *client, seq int32) {
	s := p.find(seq)
	n, leaderEpoch := c.leader(p.part)
	if n == nil {
		p.failed = true
		return
	}
	s.away = true
	p.flying++
	batch, values, first := p.batch(s), s.values, p.queue[0].seq == seq
	call(c.w, c.proc, n.proc, "produce", 2*time.Second, func(reply func(produced)) {
		n.produce(p.part, leaderEpoch, appending{batch: batch, expected: -1}, reply)
	}, func(a produced, err error) {
		p.flying--
		if err != nil || a.reason != "" {
			p.failed = true
			if a.reason == errcode.OutOfOrderSequence && first {
				c.w.fail("producer %d: sequence %d is out of order, all before it are acknowledged", p.pid, seq)
			}
			return
		}
		p.known = true
		c.w.acked(p.part, a.offset, values)
		p.find(seq).acked = true
		for len(p.queue) > 0 && p.queue[0].acked {
			p.queue = p.queue[1:]
		}
	})
}

func (p *idempotent) waits() string {
	if len(p.queue) == 0 {
		return ""
	}
	return fmt.Sprintf("producer %d waits for sequence %d", p.pid, p.queue[0].seq)
}

// reader reads a partition from its start on, and asks for its newest offset.
type reader struct {
	part      int
	next      int64
	committed bool // sees no more of transactions than it should
}

func (r *reader) work(c *client) {
	again := func() { c.w.after(c.proc, c.pause(), "read", func() { r.work(c) }) }
	n, leaderEpoch := c.leader(r.part)
	if n == nil {
		again()
		return
	}
	if c.w.chance(30) {
		r.latest(c, n, leaderEpoch)
	}
	call(c.w, c.proc, n.proc, "fetch", time.Second, func(reply func(fetched)) {
		n.fetch(r.part, leaderEpoch, fetching{offset: r.next, committed: r.committed}, reply)
	}, func(a fetched, err error) {
		if a.reason == errcode.OffsetOutOfRange {
			c.w.fail("offset %d of partition %d, up to which was read, is out of range (invariant 8)", r.next, r.part)
		}
		if err == nil && a.reason == "" {
			if r.committed {
				r.next = c.w.readCommitted(r.part, r.next, a.batches, a.aborted)
			} else {
				r.next = c.w.read(r.part, r.next, a.batches)
			}
		}
		again()
	})
}

func (r *reader) waits(w *World) string {
	if r.next == int64(len(w.parts[r.part].facts)) {
		return ""
	}
	return fmt.Sprintf("the reader of partition %d is at offset %d of %d", r.part, r.next, len(w.parts[r.part].facts))
}

func (r *reader) latest(c *client, n *node, leaderEpoch int32) {
	least := c.w.parts[r.part].latest
	if r.committed {
		least = c.w.parts[r.part].stable
	}
	call(c.w, c.proc, n.proc, "list offsets", time.Second, func(reply func(listed)) {
		n.latest(r.part, leaderEpoch, r.committed, reply)
	}, func(a listed, err error) {
		if err != nil || a.reason != "" {
			return
		}
		if r.committed {
			c.w.listedStable(r.part, a.offset, least)
		} else {
			c.w.listed(r.part, a.offset, least)
		}
	})
}

// unserved says which client still waits.
func (w *World) unserved() string {
	for _, t := range w.tasks {
		if s := t(); s != "" {
			return s
		}
	}
	return ""
}
