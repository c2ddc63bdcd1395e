package simulator

import "time"

// conn is a connection between two processes. What is sent arrives in order, or
// not at all once it is closed.
type conn struct {
	w    *World
	open bool
	ends [2]connEnd
	// stalledTo is until when nothing gets through, though the link is well: the
	// peer reads slowly.
	stalledTo time.Duration
}

type connEnd struct {
	p    *process
	life int
	// closed is called at this end when the connection has broken.
	closed func()
	lane   lane // towards this end
}

// lane is one direction.
type lane struct {
	last time.Duration // when the last one arrives
	held []event       // that arrived while the link was cut
}

// dial connects two processes; done gets nil where that fails.
func (w *World) dial(from, to *process, done func(c *conn)) {
	w.after(from, 2*w.net.latency(), "dial", func() {
		if w.net.cut(from, to) || w.net.cut(to, from) || !to.up {
			w.after(from, w.upTo(time.Second), "dial failed", func() { done(nil) })
			return
		}
		c := &conn{w: w, open: true, ends: [2]connEnd{{p: from, life: from.life}, {p: to, life: to.life}}}
		w.net.conns = append(w.net.conns, c)
		done(c)
	})
}

// send brings something to end 0 or 1.
func (c *conn) send(end int, what string, do func()) {
	to := &c.ends[end]
	if !c.open {
		return
	}
	to.lane.last = max(to.lane.last, c.w.now+c.w.net.latency())
	c.w.events.plan(event{at: to.lane.last, what: what, do: func() { c.arrive(end, what, do) }})
}

func (c *conn) arrive(end int, what string, do func()) {
	to, from := &c.ends[end], &c.ends[1-end]
	switch {
	case !c.open || !to.p.up || to.p.life != to.life:
	case c.w.net.cut(from.p, to.p) || len(to.lane.held) > 0 || to.p.pausedTo > c.w.now || c.stalledTo > c.w.now:
		to.lane.held = append(to.lane.held, event{what: what, do: do})
		if to.p.pausedTo > c.w.now && len(to.lane.held) == 1 {
			c.w.after(to.p, to.p.pausedTo-c.w.now, "resume", func() { c.flushTo(end) })
		}
	default:
		c.w.within(to.p, do)
	}
}

func (c *conn) flush() {
	c.flushTo(0)
	c.flushTo(1)
}

// flushTo sends on what was held up.
func (c *conn) flushTo(end int) {
	to, from := &c.ends[end], &c.ends[1-end]
	if c.w.net.cut(from.p, to.p) || c.stalledTo > c.w.now {
		return
	}
	held := to.lane.held
	to.lane.held = nil
	for _, e := range held {
		c.send(end, e.what, e.do)
	}
}

// stall holds up everything for a while.
func (c *conn) stall(d time.Duration) {
	c.stalledTo = max(c.stalledTo, c.w.now+d)
	c.w.at(c.stalledTo-c.w.now, "flows again", c.flush)
}

// close breaks the connection; both ends hear of it a little later.
func (c *conn) close() {
	if !c.open {
		return
	}
	c.open = false
	for i := range c.ends {
		c.tell(i, c.w.net.latency())
	}
}

// dying is a connection whose one end is gone without a word.
func (c *conn) dying() {
	c.open = false
	for i := range c.ends {
		c.tell(i, keepalive/2+c.w.upTo(keepalive/2))
	}
}

func (c *conn) tell(end int, d time.Duration) {
	e := &c.ends[end]
	c.w.at(d, "closed", func() {
		if e.p.up && e.p.life == e.life && e.closed != nil {
			c.w.onto(e.p, "closed", e.closed)
		}
	})
}
