package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"moldau.dev/metadata/cluster"
)

// kind is a kind of fault; each seed draws which ones it has.
type kind struct {
	name string
	do   func(w *World)
}

var kinds = []kind{
	{"kill a node", func(w *World) { w.killed(w.anyNode(), false) }},
	{"kill a node between two effects", func(w *World) { w.anyNode().proc.fuse = 1 + w.rng.IntN(40) }},
	{"power loss of a node", func(w *World) {
		if n := w.anyNode(); w.survives(n) {
			w.killed(n, true)
		}
	}},
	{"power loss of all nodes", func(w *World) {
		if !w.durable {
			return // more than min.insync.replicas may lose records then
		}
		for _, n := range w.nodes {
			w.killed(n, true)
		}
	}},
	{"pause a node", func(w *World) { w.paused(w.anyNode().proc) }},
	{"pause a controller", func(w *World) { w.paused(w.anyController().proc) }},
	{"kill a controller", func(w *World) {
		p := w.anyController().proc
		w.kill(p, false)
		w.bootLater(p)
	}},
	{"kill a controller between two effects", func(w *World) { w.anyController().proc.fuse = 1 + w.rng.IntN(20) }},
	{"cut a link", func(w *World) {
		a, b := w.anyProcess(), w.anyProcess()
		w.cutFor(a, b, 500*time.Millisecond+w.upTo(12*time.Second), w.chance(50))
	}},
	{"cut a node off", func(w *World) {
		n, d := w.anyNode().proc, 500*time.Millisecond+w.upTo(12*time.Second)
		for _, p := range w.processes {
			w.cutFor(n, p, d, true)
		}
	}},
	{"cut a node off from its peers", func(w *World) {
		n, d := w.anyNode().proc, 500*time.Millisecond+w.upTo(12*time.Second)
		for _, p := range w.nodes {
			w.cutFor(n, p.proc, d, true)
		}
	}},
	{"cut a leader and clients off from metadata", func(w *World) {
		d := time.Second + w.upTo(16*time.Second)
		for _, p := range w.deaf() {
			for _, c := range w.controllers {
				w.cutFor(p, c.proc, d, true)
			}
		}
	}},
	{"a leader and clients hear late that leaders have moved", func(w *World) {
		d := time.Second + w.upTo(12*time.Second)
		for _, p := range w.deaf() {
			for _, c := range w.controllers {
				for _, conn := range w.net.between(p, c.proc) {
					conn.stall(d)
				}
			}
		}
		w.elect()
	}},
	{"leaders fall while a replica lags", func(w *World) {
		i := w.rng.IntN(len(w.parts))
		lags := w.nodes[w.truth.parts[i].Replicas[w.rng.IntN(3)]]
		for _, p := range w.processes {
			w.cutFor(lags.proc, p, 5*time.Second, true)
		}
		lags.slowTo = max(lags.slowTo, w.now+25*time.Second)
		for k := range 3 {
			w.at(5*time.Second+time.Duration(k)*w.upTo(5*time.Second), "a leader falls", func() {
				if id := w.truth.parts[i].Leader; id != cluster.NoLeader && id != lags.id {
					w.killed(w.nodes[id], false)
				}
			})
		}
	}},
	{"break connections", func(w *World) {
		for _, c := range w.net.conns {
			if c.open && w.chance(40) {
				c.close()
			}
		}
		w.net.sweep()
	}},
	{"stall connections", func(w *World) {
		for _, c := range w.net.conns {
			if c.open && w.chance(30) {
				c.stall(500*time.Millisecond + w.upTo(10*time.Second))
			}
		}
	}},
	{"a node replicates slowly", func(w *World) {
		n := w.anyNode()
		n.slowTo = max(n.slowTo, w.now+time.Second+w.upTo(10*time.Second))
	}},
	{"preferred leaders are elected", (*World).elect},
	{"consul loses its leader", func(w *World) {
		w.consul.leader = false
		w.at(w.upTo(6*time.Second), "consul has a leader", func() { w.consul.leader = true })
	}},
	{"a session of consul ends early", func(w *World) { w.consul.destroy(w.consul.holder) }},
}

// coordinatorKinds are the faults of coordinators.
var coordinatorKinds = []kind{
	{"kill a coordinator", func(w *World) {
		p := w.anyCoordinator()
		w.kill(p, w.chance(30))
		w.bootLater(p)
	}},
	{"kill a coordinator between two effects", func(w *World) { w.anyCoordinator().fuse = 1 + w.rng.IntN(20) }},
	{"pause a coordinator", func(w *World) { w.paused(w.anyCoordinator()) }},
	{"cut a coordinator off from metadata", func(w *World) {
		p, d := w.anyCoordinator(), time.Second+w.upTo(12*time.Second)
		for _, c := range w.controllers {
			w.cutFor(p, c.proc, d, true)
		}
	}},
	{"cut a coordinator off", func(w *World) {
		c, d := w.anyCoordinator(), 500*time.Millisecond+w.upTo(12*time.Second)
		for _, p := range w.processes {
			w.cutFor(c, p, d, true)
		}
	}},
}

func (w *World) anyCoordinator() *process {
	return w.coordinators[w.rng.IntN(len(w.coordinators))].proc
}

// breakThings plans the faults of the seed and returns how long they last. A
// quarter of the seeds has none.
func (w *World) breakThings() time.Duration {
	for _, p := range w.processes {
		p.rate = 1 + (w.rng.Float64()-0.5)/50
	}
	length := 10*time.Second + w.upTo(20*time.Second)
	if w.rng.IntN(4) == 0 {
		return length
	}
	var drawn []kind
	all := kinds
	if w.shards > 0 {
		all = slices.Concat(kinds, coordinatorKinds)
	}
	for _, k := range all {
		if w.chance(40) {
			drawn = append(drawn, k)
		}
	}
	// Each fault has a source of randomness of its own, so that leaving one out
	// does not make others of those that stay.
	at := 3 * time.Second
	for i := 0; len(drawn) > 0; i++ {
		at += w.upTo(2500 * time.Millisecond)
		if at > length {
			break
		}
		k, seed := drawn[w.rng.IntN(len(drawn))], w.rng.Uint64()
		w.faults = append(w.faults, fmt.Sprintf("%v %s", at, k.name))
		if w.opts.Without[i] {
			continue
		}
		w.at(at, k.name, func() {
			mine := w.rng
			w.rng = rand.New(rand.NewPCG(seed, 1))
			k.do(w)
			w.rng = mine
		})
	}
	return length
}

// elect makes the preferred leaders lead, if they are in sync.
func (w *World) elect() {
	if c := w.controllers[w.activeController()]; c.proc.up && c.active {
		c.decide(&cluster.ElectLeaders{}, func(int64, error) {})
	}
}

// deaf draws a leader, where there is one, and about half of the clients.
func (w *World) deaf() (drawn []*process) {
	if id := w.truth.parts[w.rng.IntN(len(w.parts))].Leader; id != cluster.NoLeader {
		drawn = append(drawn, w.nodes[id].proc)
	}
	for _, c := range w.clients {
		if w.chance(50) {
			drawn = append(drawn, c.proc)
		}
	}
	return drawn
}

func (w *World) anyNode() *node       { return w.nodes[w.rng.IntN(len(w.nodes))] }
func (w *World) anyProcess() *process { return w.processes[w.rng.IntN(len(w.processes))] }

// killed ends a node's process, or its machine.
func (w *World) killed(n *node, power bool) {
	if n.proc.up {
		w.kill(n.proc, power)
	}
	if power {
		n.losePower()
	}
	w.bootLater(n.proc)
}

// survives tells whether nothing is promised that goes if a node loses its power
// now: a topic that relies on page caches survives that one at a time (R15).
func (w *World) survives(n *node) bool {
	if w.durable {
		return true
	}
	for _, other := range w.nodes {
		if other != n && other.powerLost {
			return false
		}
	}
	for i := range w.truth.parts {
		if p := w.truth.parts[i]; slices.Contains(p.Replicas, n.id) && len(without(p.Isr, n.id)) == 0 {
			return false
		}
	}
	return true
}

// losePower makes the disk forget what was not fsynced.
func (n *node) losePower() {
	n.disk.PowerLoss(n.w.rng)
	n.powerLost = true
	n.replicas = nil
}

func (w *World) bootLater(p *process) {
	w.at(100*time.Millisecond+w.upTo(6*time.Second), "boot", func() { w.boot(p) })
}

func (w *World) paused(p *process) {
	p.pausedTo = max(p.pausedTo, w.now+100*time.Millisecond+w.upTo(8*time.Second))
}

func (w *World) cutFor(a, b *process, d time.Duration, both bool) {
	if a == b {
		return
	}
	w.net.block(a, b)
	if both {
		w.net.block(b, a)
	}
	w.at(d, "link heals", func() {
		w.net.unblock(a, b)
		w.net.unblock(b, a)
	})
}

// heal ends all faults, and wants the cluster to come back to life: every
// partition with all replicas in sync, every record acknowledged and read.
func (w *World) heal() {
	w.note("heal")
	w.stopped = true
	w.net.heal()
	w.consul.leader = true
	for _, n := range w.nodes {
		n.slowTo = 0
	}
	for _, p := range w.processes {
		p.pausedTo, p.fuse = 0, 0
		w.boot(p)
	}
	for limit := w.now + 60*time.Second; w.now < limit; {
		w.run(w.now + 500*time.Millisecond)
		if w.well() == "" {
			return
		}
	}
	w.fail("60 s after all faults ended, %s (liveness)", w.well())
}

// well says what is not well yet.
func (w *World) well() string {
	for n := range w.parts {
		p := w.truth.parts[n]
		if p.Leader == cluster.NoLeader || len(p.Isr) != len(p.Replicas) {
			return fmt.Sprintf("partition %d has leader %d and isr %v of %v", n, p.Leader, p.Isr, p.Replicas)
		}
		r := w.nodes[p.Leader].replicas[n]
		if r.leader == nil || r.hw != r.log.EndOffset() || r.hw != int64(len(w.parts[n].facts)) {
			return fmt.Sprintf("partition %d is not committed up to its end", n)
		}
		if w.parts[n].undecidedFrom() != int64(len(w.parts[n].facts)) {
			return fmt.Sprintf("partition %d has a transaction that does not end (invariant 26)", n)
		}
	}
	return w.unserved()
}
