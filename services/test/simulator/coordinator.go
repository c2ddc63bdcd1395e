package simulator

import (
	"fmt"
	"time"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
)

// coordinator is one coordinator: the shell around the machines of groups and of
// transactions, each over its own journal. It beats, has a lease, takes shards
// over from others and gives them up.
type coordinator struct {
	w    *World
	proc *process
	id   int32

	// The rest is of one life.
	incarnation string
	view        *image
	lease       *replication.Lease // as R12 has it for nodes
	holdings    map[int]*holding   // by shard
	yielded     map[int]int64      // epochs of shards that others have taken
}

// holding is one shard that the coordinator was given under one epoch.
type holding struct {
	c       *coordinator
	index   int
	epoch   int64
	givenUp bool
	lives   [kindsOfShard]*life // nil until those who owned it before serve it no longer
}

// shardKind tells the machines of a shard apart.
type shardKind int

const (
	groups shardKind = iota
	transactions
	kindsOfShard
)

const coordinatorLease = 3 * time.Second // below the fence timeout

func (c *coordinator) start() {
	*c = coordinator{w: c.w, proc: c.proc, id: c.id, holdings: map[int]*holding{}, yielded: map[int]int64{}}
	c.incarnation = fmt.Sprint(c.w.rng.Uint64())
	c.view = c.w.genesis
	c.lease = replication.NewLease(coordinatorLease)
	c.w.follow(c.proc, c.saw)
	c.beat()
}

func (c *coordinator) end() {
	for _, i := range sorted(c.holdings) {
		c.holdings[i].stop()
	}
}

func (c *coordinator) now() time.Time { return c.w.clock(c.proc) }

// beat tells the controller that the coordinator lives; the answer is its lease.
func (c *coordinator) beat() {
	sent, ctl := c.now(), c.w.controllers[c.w.activeController()]
	is := &metadatav1.CoordinatorState{CoordinatorId: c.id, Incarnation: c.incarnation, Address: fmt.Sprintf("coordinator-%d:1", c.id)}
	call(c.w, c.proc, ctl.proc, "coordinator beat", time.Second, func(reply func(beaten)) { ctl.beatCoordinator(is, reply) }, func(a beaten, err error) {
		if err == nil && a.err == nil {
			c.lease.Answered(sent, a.revision)
		}
	})
	c.w.after(c.proc, 500*time.Millisecond, "coordinator beat", c.beat)
}

// leader returns the node that leads, as far as the coordinator knows.
func (c *coordinator) leader(part int) (*node, int32) { return c.w.leaderIn(c.view, part) }

func (c *coordinator) saw(i *image) {
	if i.revision <= c.view.revision {
		return
	}
	c.view = i
	c.lease.Seen(i.revision)
	c.reconcile()
	for _, n := range sorted(c.holdings) {
		for _, l := range c.holdings[n].lives {
			if l != nil && l.serving {
				l.step(shard.View{View: c.w.viewOf(i)})
			}
		}
	}
}

// given are the epochs of the shards that the view gives to this incarnation.
func (c *coordinator) given() map[int]int64 {
	me := c.view.state.Coordinators[c.id]
	if me == nil || me.Fenced || me.Incarnation != c.incarnation {
		return nil
	}
	given := map[int]int64{}
	for n, s := range c.view.state.Shards {
		if s.Owner == c.id {
			given[n] = s.Epoch
		}
	}
	return given
}

// reconcile makes the shards that are held here those that the view gives.
func (c *coordinator) reconcile() {
	given := c.given()
	for _, n := range sorted(c.holdings) {
		if epoch, still := given[n]; !still || epoch != c.holdings[n].epoch {
			c.giveUp(c.holdings[n])
		}
	}
	for _, n := range sorted(given) {
		if c.holdings[n] == nil && given[n] > c.yielded[n] {
			h := &holding{c: c, index: n, epoch: given[n]}
			c.holdings[n] = h
			c.askForRelease(h)
		}
	}
}

func (c *coordinator) giveUp(h *holding) {
	delete(c.holdings, h.index)
	h.givenUp = true
	h.stop()
}

func (h *holding) stop() {
	for _, l := range h.lives {
		if l != nil {
			l.stop(errcode.NotCoordinator)
		}
	}
}

// askForRelease starts the shard's machines once no other coordinator serves
// them: a live one says so, one that is silent has no lease any more.
func (c *coordinator) askForRelease(h *holding) {
	since, left := c.now(), 0
	done := func() {
		if left--; left < 0 && !h.givenUp {
			h.start()
		}
	}
	for _, other := range c.w.coordinators {
		if is := c.view.state.Coordinators[other.id]; other != c && is != nil && !is.Fenced {
			left++
			c.askUntilReleased(h, other, is.Incarnation, since, done)
		}
	}
	done()
}

func (c *coordinator) askUntilReleased(h *holding, other *coordinator, incarnation string, since time.Time, done func()) {
	is := c.view.state.Coordinators[other.id]
	if h.givenUp || is == nil || is.Fenced || is.Incarnation != incarnation || c.now().Sub(since) >= coordinatorLease {
		done()
		return
	}
	call(c.w, c.proc, other.proc, "release", time.Second, func(reply func(bool)) {
		other.release(h.index, h.epoch)
		reply(true)
	}, func(_ bool, err error) {
		if err == nil {
			done()
			return
		}
		c.w.after(c.proc, 100*time.Millisecond, "release", func() { c.askUntilReleased(h, other, incarnation, since, done) })
	})
}

// release serves a shard no longer: another owns it under epoch.
func (c *coordinator) release(index int, epoch int64) {
	c.yielded[index] = max(c.yielded[index], epoch-1)
	if h := c.holdings[index]; h != nil && h.epoch < epoch {
		c.giveUp(h)
	}
}

// start loads the machines.
func (h *holding) start() {
	for kind := range kindsOfShard {
		h.lives[kind] = &life{h: h, kind: kind, part: h.c.w.journal(kind, h.index)}
		h.lives[kind].load()
	}
}

// owned tells whether the shard is this coordinator's at this moment (T1).
func (h *holding) owned() bool {
	shards := h.c.view.state.Shards
	return !h.givenUp && h.c.lease.Held(h.c.now()) && h.index < len(shards) && shards[h.index].Owner == h.c.id && shards[h.index].Epoch == h.epoch
}

// ask gives a request to the machine of a shard here.
func (c *coordinator) ask(kind shardKind, index int, message any, reply func(any, error)) {
	h := c.holdings[index]
	switch {
	case h == nil || !h.owned():
		reply(nil, errNotCoordinator)
	case h.lives[kind] == nil || !h.lives[kind].serving:
		reply(nil, errLoading)
	default:
		h.lives[kind].ask(message, reply)
	}
}

var (
	errNotCoordinator = errcode.New(errcode.NotCoordinator, "not the coordinator")
	errLoading        = errcode.New(errcode.CoordinatorLoading, "loading")
	errNoCoordinator  = errcode.New(errcode.CoordinatorUnavailable, "nobody answers")
)

// replied is what a coordinator answers.
type replied struct {
	message any
	err     error
}

// askShard asks the owner of a shard, as far as a view knows it. No answer in
// time is RequestTimedOut: then nobody knows what came of it.
func (w *World) askShard(from *process, view *image, kind shardKind, index int, message any, timeout time.Duration, done func(any, error)) {
	shards := view.state.Shards
	if index >= len(shards) || shards[index].Owner < 0 {
		w.after(from, time.Millisecond, "no coordinator", func() { done(nil, errNoCoordinator) })
		return
	}
	to := w.coordinators[shards[index].Owner]
	call(w, from, to.proc, "ask", timeout, func(reply func(replied)) {
		to.ask(kind, index, message, func(m any, err error) { reply(replied{m, err}) })
	}, func(a replied, err error) {
		if err != nil {
			a.err = errcode.New(errcode.RequestTimedOut, "no answer")
		}
		if a.err != nil {
			w.note("refused " + string(errcode.ReasonOf(a.err)))
		}
		done(a.message, a.err)
	})
}

func (w *World) shardFor(id string) int { return int(coordinatorclient.ShardOf(id, w.shards)) }

// machine makes one that knows nothing yet.
func (w *World) machine(kind shardKind) shard.Machine {
	if kind == transactions {
		return txn.New(txn.DefaultConfig())
	}
	cfg := group.DefaultConfig()
	cfg.InitialDelay = 300 * time.Millisecond
	cfg.ConsumerSession = 6 * time.Second
	cfg.ConsumerHeartbeat = time.Second
	return group.New(cfg)
}

// beatCoordinator registers a coordinator, and notes that it lives.
func (c *controller) beatCoordinator(is *metadatav1.CoordinatorState, reply func(beaten)) {
	if !c.confirmed() || c.now().Sub(c.renewed) > fenceTimeout/4 { // its lease hangs on it
		reply(beaten{err: errNotController})
		return
	}
	c.heardOf[is.CoordinatorId] = c.now()
	if old := c.image.state.Coordinators[is.CoordinatorId]; old != nil && !old.Fenced && old.Incarnation == is.Incarnation {
		reply(beaten{revision: c.image.revision})
		return
	}
	c.decide(cluster.RegisterCoordinator{Coordinator: is}, func(revision int64, err error) { reply(beaten{revision: revision, err: err}) })
}

// coordinatorLiveness fences coordinators that have fallen silent, and moves a
// shard now and then from one that has more than its share.
func (c *controller) coordinatorLiveness(now time.Time) {
	for _, id := range sorted(c.image.state.Coordinators) {
		heard, ok := c.heardOf[id]
		if !ok {
			heard = c.graceTill.Add(-fenceTimeout)
		}
		if !c.image.state.Coordinators[id].Fenced && now.Sub(heard) >= fenceTimeout && !now.Before(c.graceTill) {
			c.decide(cluster.FenceCoordinators{IDs: []int32{id}}, func(int64, error) {})
		}
	}
	if c.w.chance(5) {
		c.decide(cluster.BalanceShards{Most: 1}, func(int64, error) {})
	}
}
