package native

import (
	"context"
	"sync"
	"time"

	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// entry is one share of one produce, on its way.
//
// Invariant: result and err are written before done is closed, and only then
// read.
type entry struct {
	ctx      context.Context // the produce's: queued entries of one that gave up are dropped
	records  []record.Record // or batch
	batch    []byte          // a client's own, opaque
	free     func()          // gives the batch's memory back; nil: nothing
	producer int64           // whose sequence it has, or NoProducerID
	first    int32           // of that sequence
	count    int
	size     int
	maxBatch int
	codec    record.Codec
	acks     storageclient.Acks
	sequence *moldauv1.ProducerSequence
	expected *int64

	solo    bool // a batch of its own, to find out whose record is at fault
	renewed bool // has been sent under a second producer of the gateway's

	done   chan struct{}
	result storageclient.AppendResult
	err    error
	after  func() // called once done; nil: nothing
}

// alone tells whether an entry must be a batch of its own.
func (e *entry) alone() bool {
	return e.batch != nil || e.sequence != nil || e.expected != nil || e.solo
}

// own tells whether an entry goes out under the gateway's own producer.
func (e *entry) own() bool { return e.batch == nil && e.sequence == nil }

// barrier tells whether nothing may be under way beside an entry: it has no
// sequence that would keep it in order, or names the place where the log must
// end.
func (e *entry) barrier() bool {
	return e.expected != nil || e.batch != nil && e.producer == record.NoProducerID
}

// finish tells what became of an entry that nobody sends any more.
func (e *entry) finish(res storageclient.AppendResult, err error) {
	e.result, e.err = res, err
	if e.free != nil {
		e.free()
	}
	close(e.done)
	if e.after != nil {
		e.after()
	}
}

// lanes are the partitions that this gateway writes to.
type lanes struct {
	s   *Server
	ids *producerIDs
	wg  sync.WaitGroup

	mu    sync.Mutex
	byID  map[storageclient.PartitionID]*lane
	swept int64 // revision at which lanes of deleted topics were last dropped
}

func newLanes(s *Server) *lanes {
	return &lanes{s: s, ids: newProducerIDs(s.meta), byID: map[storageclient.PartitionID]*lane{}}
}

// add queues e behind what was added before.
func (ls *lanes) add(id storageclient.PartitionID, e *entry) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.byID[id]
	if l == nil {
		ls.sweep()
		l = &lane{s: ls.s, ids: ls.ids, wg: &ls.wg, id: id, producerID: record.NoProducerID, heard: map[int64]time.Time{}}
		ls.byID[id] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, e)
	l.queued += e.size
	l.start()
}

// sweep drops what is kept for deleted topics.
func (ls *lanes) sweep() {
	v := ls.s.meta.View()
	if v.Revision == ls.swept {
		return
	}
	ls.swept = v.Revision
	ls.s.forget(v)
	for id, l := range ls.byID {
		if gone(v, id) && l.idle() {
			delete(ls.byID, id)
		}
	}
}

func gone(v *metadataclient.View, id storageclient.PartitionID) bool {
	return v.TopicsByID[id.Topic] == nil
}

const (
	// inFlight is how many batches of one producer are under way at once: as many
	// as storage remembers, so that each may be sent again (KIP-98).
	inFlight = 5
	// laneInFlight is how many of all producers.
	laneInFlight = 32
	// worthBytes must have gathered before another of the gateway's own batches
	// follows one that is under way.
	worthBytes = 128 << 10
	// forgotten is after how long without a batch storage may no longer know a
	// producer; in truth that takes much longer.
	forgotten = 10 * time.Minute
	// manyHeard bounds the producers that a lane remembers.
	manyHeard = 1000
)

// lane is the way to one partition. A goroutine, there while something can be
// sent, makes batches of what is queued and sends them off; each flies by
// itself. What came while a batch was under way goes into the next one together,
// so batches grow with the load and nobody waits for a timer.
//
//	queue ─▶ take ─▶ build ─▶ fly ─▶ land ─┬─ appended: told
//	  ▲                                    └─ not: once all have landed, settled
//	  └──── never appended, as one before it failed ◀────────┘
//
// Invariant: what has no producer of its own is appended in the order of the
// queue, and each producer's batches in the order of its sequence. Storage
// refuses a batch that overtook another; it is sent again when that has landed.
type lane struct {
	s   *Server
	ids *producerIDs
	wg  *sync.WaitGroup
	id  storageclient.PartitionID

	mu     sync.Mutex
	queue  []*entry
	queued int  // bytes of queue
	busy   bool // the goroutine is there
	// flying, oldest first, has what is under way, and what landed behind an
	// older one of the same producer that has not: a producer's newest and oldest
	// are never more than inFlight apart.
	flying []*flight
	failed bool // one of the gateway's own failed: no other starts before they are settled

	heard map[int64]time.Time // when a batch of a producer was last appended

	// The gateway's own producer in this partition. A new one is taken where it
	// is unknown which sequence is next.
	producerID int64
	nextSeq    int32
}

func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.busy && len(l.flying) == 0
}

// start has the goroutine run if there is something that it may send. The
// caller holds mu.
func (l *lane) start() {
	if !l.busy && l.ready() {
		l.busy = true
		l.wg.Go(l.run)
	}
}

// ready tells whether the next batch may go. The caller holds mu.
func (l *lane) ready() bool {
	if len(l.queue) == 0 {
		return false
	}
	if len(l.flying) == 0 {
		return true
	}
	first, same := l.queue[0], 0
	for _, f := range l.flying {
		if f.barrier || f.begins && f.producer == first.producer {
			return false
		}
		if f.producer == first.producer {
			same++
		}
	}
	if first.barrier() || same >= inFlight || len(l.flying) >= laneInFlight {
		return false
	}
	if !first.own() || same == 0 {
		return true
	}
	return !l.failed && !first.solo && l.queued >= worthBytes
}

func (l *lane) run() {
	for {
		f, dropped := l.take()
		for _, e := range dropped {
			l.finish(e, storageclient.AppendResult{}, e.ctx.Err())
		}
		if f == nil {
			return
		}
		f.send()
	}
}

// take enters the next batch among what flies. Entries whose caller has gone
// are dropped. Without a batch, the goroutine ends.
func (l *lane) take() (f *flight, dropped []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.ready() {
		group := l.cut()
		var wanted []*entry
		for _, e := range group {
			if e.ctx.Err() != nil {
				dropped = append(dropped, e)
			} else {
				wanted = append(wanted, e)
			}
		}
		if len(wanted) > 0 {
			return l.enter(wanted), dropped
		}
	}
	l.busy = false
	if len(l.queue) == 0 {
		l.queue = nil
	}
	return nil, dropped
}

// cut removes the entries of the next batch from the queue.
func (l *lane) cut() []*entry {
	first := l.queue[0]
	n, size, count := 1, first.size, first.count
	for ; n < len(l.queue) && !first.alone(); n++ {
		e := l.queue[n]
		if e.alone() || e.acks != first.acks || e.codec != first.codec || size+e.size > first.maxBatch || count+e.count > maxRecords {
			break
		}
		size, count = size+e.size, count+e.count
	}
	group := l.queue[:n:n]
	l.queue, l.queued = l.queue[n:], l.queued-size
	return group
}

// enter makes a flight of a group, in order behind those of its producer.
func (l *lane) enter(group []*entry) *flight {
	first := group[0]
	f := &flight{
		l: l, group: group, producer: first.producer, sequence: first.first, own: first.own(), barrier: first.barrier(),
		safe: first.own() || first.producer != record.NoProducerID, landed: make(chan struct{}),
		part: storageclient.AppendPartition{PartitionID: l.id, ExpectedOffset: first.expected, Batch: first.batch},
	}
	if f.own {
		f.sequence = l.nextSeq
		for _, e := range group {
			l.nextSeq = advance(l.nextSeq, e.count)
		}
	}
	f.begins = l.s.clk.Since(l.heard[f.producer]) > forgotten
	for _, other := range l.flying {
		if other.producer == f.producer {
			f.before = other
		}
	}
	l.flying = append(l.flying, f)
	return f
}

func (l *lane) finish(e *entry, res storageclient.AppendResult, err error) {
	e.finish(res, err)
	l.s.bytes.Release(int64(e.size))
}
