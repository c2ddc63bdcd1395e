// Package simulator runs a whole cluster in one goroutine: the pure cores of
// replication, producers and transactions and real commit logs, over models of network, disk,
// Consul and clocks, driven by a heap of events and one seed. It checks the
// invariants of replication as it goes, breaks what can break, then heals, and
// wants everything to come back to life. The same seed gives the same run, event
// by event.
package simulator

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/vfs"
)

// Options say what to run.
type Options struct {
	Seed uint64
	// Trace, unless nil, is told every event.
	Trace io.Writer
	// Without leaves out faults by their number: which of them a violation needs.
	Without map[int]bool
	// Bare leaves coordinators out, whatever the seed says.
	Bare bool
}

// Result is what came of a run.
type Result struct {
	Seed      uint64
	Events    int
	Acked     int // records
	Faults    []string
	Hash      uint64 // of the trace
	Violation string // empty: none
}

// World is one run.
type World struct {
	opts   Options
	rng    *rand.Rand
	now    time.Duration
	events schedule
	count  int
	hash   hash
	net    *network

	processes   []*process
	consul      *consul
	controllers []*controller
	nodes       []*node
	clients     []*client

	coordinators []*coordinator
	shards       int                // of the coordinators
	inputs       int                // partitions that idempotent producers write; the outputs come after them
	attempts     map[int64]*attempt // by value
	topics       map[string]*metadataclient.Topic
	topicsByID   map[topicid.ID]*metadataclient.Topic

	tasks []func() string // each says what it still waits for

	durable    bool // the topics
	config     replication.Config
	parts      []*part
	genesis    *image
	truth      *image            // the newest committed state
	promised   map[int32][]int64 // what each node's logs had made durable
	nodeEpochs map[int32]int64
	values     int64
	faults     []string
	stopped    bool // producers begin nothing new
}

func newWorld(o Options) *World {
	return &World{opts: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6d6f6c646175)), hash: newHash(), nodeEpochs: map[int32]int64{},
		attempts: map[int64]*attempt{}}
}

// Run runs one seed to its end, or to the first violation.
func Run(o Options) (res Result) {
	w := newWorld(o)
	res.Seed = o.Seed
	defer func() {
		res.Events, res.Faults, res.Hash = w.count, w.faults, uint64(w.hash)
		for _, p := range w.parts {
			res.Acked += p.acked
		}
		if r := recover(); r != nil {
			v, ok := r.(Violation)
			if !ok {
				panic(fmt.Sprintf("seed %d at %v: %v", o.Seed, w.now, r))
			}
			res.Violation = fmt.Sprintf("at %v: %s", w.now, v.Text)
		}
	}()
	w.build()
	w.run(w.breakThings())
	w.heal()
	return res
}

// upTo is a random time below d.
func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// chance is true in so many of a hundred cases.
func (w *World) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *World) diskDelay() time.Duration {
	if w.chance(2) {
		return w.upTo(50 * time.Millisecond)
	}
	return w.upTo(time.Millisecond)
}

// note adds something to the trace.
func (w *World) note(what string, args ...int) {
	for i := range len(what) {
		w.hash.add(uint64(what[i]))
	}
	for _, n := range args {
		w.hash.add(uint64(n))
	}
	w.hash.add(uint64(w.now))
	if w.opts.Trace != nil {
		fmt.Fprintf(w.opts.Trace, "%12v %s %v\n", w.now, what, args)
	}
}

// hash is FNV-1a, of words.
type hash uint64

func newHash() hash { return 0xcbf29ce484222325 }

func (h *hash) add(n uint64) { *h = (*h ^ hash(n)) * 0x100000001b3 }

// run lets things happen until a time.
func (w *World) run(until time.Duration) {
	for {
		at, ok := w.events.first()
		if !ok || at > until {
			w.now = max(w.now, until)
			return
		}
		w.now = at
		w.happen(w.events.next())
	}
}

func (w *World) happen(e event) {
	if e.p == nil {
		w.count++
		w.note(e.what)
		e.do()
		return
	}
	if !e.p.up || e.p.life != e.life {
		return
	}
	if e.p.pausedTo > w.now {
		e.at = e.p.pausedTo
		w.events.plan(e)
		return
	}
	w.count++
	w.note(e.what, e.p.id)
	w.within(e.p, e.do)
}

// build makes the cluster that the seed says.
func (w *World) build() {
	nodes := 3 + w.rng.IntN(2)
	w.durable = w.chance(75)
	w.config = replication.DefaultConfig()
	w.config.LagMax = []time.Duration{1500 * time.Millisecond, 4 * time.Second, 30 * time.Second}[w.rng.IntN(3)]
	w.net = newNetwork(w, 64)
	w.consul = &consul{w: w, sessions: map[int64]time.Duration{}, leader: true}
	w.consul.proc = w.process("consul", func() {}, func() {})
	for i := range 3 {
		c := &controller{w: w}
		c.proc = w.process(fmt.Sprintf("controller %d", i), c.start, c.end)
		w.controllers = append(w.controllers, c)
	}
	minISR := 2
	if w.durable { // else a single lossy restart may lose what was committed (R15)
		minISR = 1 + w.rng.IntN(2)
	}
	var assignment [][]int32
	for i := range 1 + w.rng.IntN(2) {
		assignment = append(assignment, []int32{int32(i % nodes), int32((i + 1) % nodes), int32((i + 2) % nodes)})
		w.parts = append(w.parts, &part{leaders: map[int32]int32{}, nextSeq: map[int64]sequence{}})
	}
	w.inputs = len(w.parts)
	if w.durable && w.opts.Seed%2 == 0 && !w.opts.Bare {
		w.shards = 1
		for i := range outputs + int(kindsOfShard)*w.shards {
			assignment = append(assignment, []int32{int32(i % nodes), int32((i + 1) % nodes), int32((i + 2) % nodes)})
			w.parts = append(w.parts, &part{leaders: map[int32]int32{}, nextSeq: map[int64]sequence{}})
		}
	}
	for _, p := range w.parts {
		p.open, p.ends = map[int64][]int64{}, map[int64]int16{}
	}
	w.genesis = genesis(nodes, assignment, minISR, w.durable)
	w.genesis.state.Defaults.Shards = int32(w.shards)
	w.consul.value, w.truth = w.genesis, w.genesis
	w.promised = map[int32][]int64{}
	for i := range int32(nodes) {
		n := &node{w: w, id: i, disk: vfs.NewMemory()}
		n.format()
		n.proc = w.process(fmt.Sprintf("node %d", i), n.start, n.end)
		w.nodes = append(w.nodes, n)
		w.promised[i] = make([]int64, len(w.parts))
	}
	for i := range w.inputs {
		for k := range 2 {
			p := &idempotent{pid: 1_000_000 + int64(i*10+k), part: i}
			w.client(p.work)
			w.tasks = append(w.tasks, p.waits)
		}
		for range 2 {
			r := &reader{part: i}
			w.client(r.work)
			w.tasks = append(w.tasks, func() string { return r.waits(w) })
		}
	}
	if w.shards > 0 {
		w.coordinate()
	}
	for _, p := range w.processes {
		w.boot(p)
	}
}

func (w *World) client(work func(*client)) {
	c := &client{w: w, do: work}
	c.proc = w.process(fmt.Sprintf("client %d", len(w.clients)), c.start, c.end)
	w.clients = append(w.clients, c)
}

func (w *World) process(name string, start, end func()) *process {
	p := &process{id: len(w.processes), name: name, rate: 1, start: start, end: end}
	w.processes = append(w.processes, p)
	return p
}

// anyController is one of them: who looks for the active one tries them all.
func (w *World) anyController() *controller { return w.controllers[w.rng.IntN(len(w.controllers))] }

// activeController is the one that leads, if there is one: a hint, as the
// answers of others give it.
func (w *World) activeController() int {
	for i, c := range w.controllers {
		if c.active && c.proc.up {
			return i
		}
	}
	return w.rng.IntN(len(w.controllers))
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
