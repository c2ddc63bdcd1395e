package simulator

import (
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/errcode"
)

// controller is one instance of metadata; the one that holds the lock decides
// (C1 to C9). It is the shell around the rules: one decision at a time, told to
// nobody before it is durable (C5).
type controller struct {
	w    *World
	proc *process

	term      int // campaigns so far; what is planned or asked in an earlier one is void
	session   int64
	renewed   time.Time // when the last successful renewal was sent
	epoch     int64
	active    bool
	image     *image
	index     int64
	count     int64 // revisions of this term
	busy      bool
	jobs      []job
	watchers  []*watcher
	lastBeat  map[int32]time.Time
	heardOf   map[int32]time.Time // coordinators
	graceTill time.Time           // nobody is fenced before (C9)
	beaten    int64               // the active one's session, as a standby last saw it
	silent    time.Time           // since when the active one has not answered
}

type job struct {
	change cluster.Change
	done   func(revision int64, err error)
}

type watcher struct {
	conn *conn
	end  int
	show func(*image)
}

const (
	fenceTimeout = 4 * time.Second
	patience     = 3 * time.Second // of a standby (C7)
)

var errNotController = errcode.New(errcode.NotController, "not the controller")

func (c *controller) start() {
	*c = controller{w: c.w, proc: c.proc}
	c.campaign()
}

func (c *controller) end() {}

// now is the controller's clock.
func (c *controller) now() time.Time { return c.w.clock(c.proc) }

// campaign asks for the lock again and again, until the instance leads (C1).
func (c *controller) campaign() {
	c.ask("acquire", c.w.consul.acquire, func(a answer) {
		switch {
		case a.err == nil:
			c.session, c.renewed = a.session, c.now()
			c.begin()
			return
		case a.err == errCheck:
			c.ping(a.session)
		}
		c.retry(300*time.Millisecond, "campaign", c.campaign)
	})
}

func (c *controller) retry(d time.Duration, what string, do func()) {
	c.later(d/2+c.w.upTo(d), what, do)
}

// later plans something of this term.
func (c *controller) later(d time.Duration, what string, do func()) {
	term := c.term
	c.w.after(c.proc, d, what, func() {
		if c.term == term {
			do()
		}
	})
}

// ask asks something of consul for this term.
func (c *controller) ask(what string, do func() answer, done func(answer)) {
	term := c.term
	c.w.consul.ask(c.proc, what, do, func(a answer) {
		if c.term == term {
			done(a)
		}
	})
}

// ping asks the active one for a sign of life. One that is silent for too long
// loses its session (C7); safe because every write checks it (C3).
func (c *controller) ping(session int64) {
	if session != c.beaten {
		c.beaten, c.silent = session, c.now()
	}
	for _, other := range c.w.controllers {
		if other == c {
			continue
		}
		call(c.w, c.proc, other.proc, "ping", time.Second, func(reply func(bool)) { reply(other.active) }, func(alive bool, err error) {
			if err == nil && alive {
				c.silent = c.now()
			}
		})
	}
	if c.now().Sub(c.silent) > patience {
		c.silent = c.now()
		c.ask("destroy", func() answer { c.w.consul.destroy(session); return answer{} }, func(answer) {})
	}
}

func (c *controller) begin() {
	session := c.session
	c.ask("begin", func() answer { return c.w.consul.begin(session) }, func(a answer) {
		if a.err == errUnknown {
			c.retry(200*time.Millisecond, "begin", c.begin)
			return
		}
		if a.err != nil {
			c.deposed()
			return
		}
		c.epoch, c.image, c.index, c.active, c.count = a.epoch, a.value, a.index, true, 0
		c.lastBeat, c.heardOf = map[int32]time.Time{}, map[int32]time.Time{}
		c.graceTill = c.now().Add(fenceTimeout)
		c.renew()
		c.liveness()
	})
}

// deposed ends the term: nothing more is decided, and everybody must look for
// another controller (C6).
func (c *controller) deposed() {
	jobs, watchers := c.jobs, c.watchers
	c.active, c.busy, c.jobs, c.watchers, c.session = false, false, nil, nil, 0
	c.term++
	for _, w := range watchers {
		w.conn.close()
	}
	for _, j := range jobs {
		j.done(0, errNotController)
	}
	c.retry(300*time.Millisecond, "campaign", c.campaign)
}

// renew keeps the session; without success for two thirds of its time the term
// ends (C6).
func (c *controller) renew() {
	sent, session := c.now(), c.session
	c.ask("renew", func() answer { return c.w.consul.renew(session) }, func(a answer) {
		switch {
		case a.err == errCheck:
			c.deposed()
			return
		case a.err == nil:
			c.renewed = sent
		case !c.confirmed():
			c.deposed()
			return
		}
		c.later(300*time.Millisecond, "renew", c.renew)
	})
}

// confirmed tells whether the term can be trusted to go on.
func (c *controller) confirmed() bool {
	return c.active && c.now().Sub(c.renewed) < sessionTTL*2/3
}

// decide queues a change.
func (c *controller) decide(ch cluster.Change, done func(revision int64, err error)) {
	if !c.confirmed() {
		done(0, errNotController)
		return
	}
	c.jobs = append(c.jobs, job{ch, done})
	c.work()
}

func (c *controller) work() {
	for c.active && !c.busy && len(c.jobs) > 0 {
		j := c.jobs[0]
		c.jobs = c.jobs[1:]
		next, err := c.image.apply(j.change)
		if err != nil || next == c.image {
			j.done(c.image.revision, err)
			continue
		}
		if a, ok := j.change.(*cluster.AlterPartitions); ok {
			c.w.checkAltered(c.image, a)
		}
		c.count++
		next.revision = c.epoch<<32 + c.count
		c.busy = true
		c.commit(j, next, c.w.rng.Uint64())
	}
}

// commit makes a decision durable. Where the outcome is unknown the store is
// asked who wrote last (C4).
func (c *controller) commit(j job, next *image, op uint64) {
	session, epoch, index := c.session, c.epoch, c.index // of now: the call may come late
	c.ask("write", func() answer {
		return c.w.consul.write(session, epoch, index, next, op)
	}, func(a answer) { c.committed(j, next, op, a) })
}

func (c *controller) committed(j job, next *image, op uint64, a answer) {
	switch {
	case a.err == errUnknown:
		c.retry(100*time.Millisecond, "look up", func() {
			c.ask("read", c.w.consul.read, func(a answer) { c.lookedUp(j, next, op, a) })
		})
	case a.err != nil:
		j.done(0, errNotController)
		c.deposed()
	default:
		c.image, c.index, c.busy = next, a.index, false
		c.w.point(c.proc)
		for _, w := range c.watchers {
			w.tell(next)
		}
		c.w.point(c.proc)
		j.done(next.revision, nil)
		c.work()
	}
}

func (c *controller) lookedUp(j job, next *image, op uint64, a answer) {
	switch {
	case a.err != nil:
		c.committed(j, next, op, a)
	case a.op == op:
		c.committed(j, next, op, a)
	case a.epoch == c.epoch && a.index == c.index:
		c.commit(j, next, op)
	default:
		j.done(0, errNotController)
		c.deposed()
	}
}
