package simulator

import (
	"errors"
	"time"
)

// network is how processes reach one another: calls, which may be lost in
// either direction, and connections, which keep order until they break.
type network struct {
	w       *World
	blocked [][]bool // from, to
	conns   []*conn
}

// keepalive is after how long of silence a connection is given up.
const keepalive = 8 * time.Second

func newNetwork(w *World, n int) *network {
	net := &network{w: w}
	for range n {
		net.blocked = append(net.blocked, make([]bool, n))
	}
	return net
}

// latency is mostly below 2 ms, and seldom long.
func (n *network) latency() time.Duration {
	switch r := n.w.rng.IntN(200); {
	case r == 0:
		return n.w.upTo(100 * time.Millisecond)
	case r < 10:
		return n.w.upTo(10 * time.Millisecond)
	}
	return 100*time.Microsecond + n.w.upTo(1500*time.Microsecond)
}

func (n *network) cut(from, to *process) bool { return n.blocked[from.id][to.id] }

// block lets nothing through from one process to another; connections between
// them break when that lasts.
func (n *network) block(from, to *process) {
	if n.cut(from, to) {
		return
	}
	n.blocked[from.id][to.id] = true
	n.w.at(keepalive, "keepalive", func() {
		if !n.cut(from, to) {
			return
		}
		for _, c := range n.between(from, to) {
			c.close()
		}
	})
}

func (n *network) between(a, b *process) (found []*conn) {
	for _, c := range n.conns {
		if c.open && (c.ends[0].p == a && c.ends[1].p == b || c.ends[0].p == b && c.ends[1].p == a) {
			found = append(found, c)
		}
	}
	return found
}

// unblock lets everything through again, what waited first.
func (n *network) unblock(from, to *process) {
	n.blocked[from.id][to.id] = false
	for _, c := range n.between(from, to) {
		c.flush()
	}
}

func (n *network) heal() {
	for _, c := range n.conns {
		c.stalledTo = 0
		c.flush()
	}
	for _, a := range n.w.processes {
		for _, b := range n.w.processes {
			if n.cut(a, b) {
				n.unblock(a, b)
			}
		}
	}
}

// dead breaks all connections of a process that ended.
func (n *network) dead(p *process, rude bool) {
	for _, c := range n.conns {
		if !c.open || c.ends[0].p != p && c.ends[1].p != p {
			continue
		}
		if rude {
			c.dying()
		} else {
			c.close()
		}
	}
	n.sweep()
}

func (n *network) sweep() {
	kept := n.conns[:0]
	for _, c := range n.conns {
		if c.open {
			kept = append(kept, c)
		}
	}
	n.conns = kept
}

var errNoAnswer = errors.New("no answer")

// call asks a process something. serve runs at the callee, once or not at all,
// and may answer later; done runs at the caller, once, with an error where no
// answer came in time: then nobody knows whether it was served.
func call[A any](w *World, from, to *process, what string, timeout time.Duration, serve func(answer func(A)), done func(a A, err error)) {
	over, life := false, from.life
	finish := func(a A, err error) {
		if !over {
			over = true
			done(a, err)
		}
	}
	w.after(from, timeout, what+" timeout", func() {
		var none A
		finish(none, errNoAnswer)
	})
	w.arriveCall(from, to, what, func() {
		serve(func(a A) {
			w.at(w.net.latency(), what+" answer", func() {
				if !w.net.cut(to, from) && from.up && from.life == life {
					w.onto(from, what+" answer", func() { finish(a, nil) })
				}
			})
		})
	})
}

// arriveCall brings a call to its callee. Where the link is cut it is lost, or
// comes late, perhaps long after the caller has given it up.
func (w *World) arriveCall(from, to *process, what string, do func()) {
	w.at(w.net.latency(), what, func() {
		switch {
		case !to.up:
		case !w.net.cut(from, to):
			w.onto(to, what, do)
		case w.chance(50):
			w.at(w.upTo(12*time.Second), what+" late", func() {
				if to.up && !w.net.cut(from, to) {
					w.onto(to, what, do)
				}
			})
		}
	})
}

// onto runs do at a process that something has reached: at once, or when it is
// no longer paused.
func (w *World) onto(p *process, what string, do func()) {
	if p.pausedTo > w.now {
		w.after(p, p.pausedTo-w.now, what, do)
		return
	}
	w.within(p, do)
}
