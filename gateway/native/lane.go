package native

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
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
	safe     bool            // batch carries a producer, so it may be sent again
	count    int
	size     int
	maxBatch int
	codec    record.Codec
	acks     storageclient.Acks
	sequence *moldauv1.ProducerSequence
	expected *int64

	done   chan struct{}
	result storageclient.AppendResult
	err    error
	after  func() // called once done; nil: nothing
}

// alone tells whether an entry must be a batch of its own.
func (e *entry) alone() bool { return e.batch != nil || e.sequence != nil || e.expected != nil }

func (e *entry) finish(res storageclient.AppendResult, err error) {
	e.result, e.err = res, err
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
		l = &lane{s: ls.s, ids: ls.ids, id: id, producerID: record.NoProducerID}
		ls.byID[id] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, e)
	if !l.busy {
		l.busy = true
		ls.wg.Go(l.run)
	}
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

// lane is the way to one partition. It has a goroutine while something is
// queued. What came while a batch was under way goes into the next one
// together, so batches grow with the load and nobody waits for a timer.
//
// Invariant: at most one append is under way, so the order of the queue is the
// order of the log, and the gateway's own sequence has no gap.
type lane struct {
	s   *Server
	ids *producerIDs
	id  storageclient.PartitionID

	mu    sync.Mutex
	queue []*entry
	busy  bool

	// Of the goroutine: the gateway's own producer in this partition. It makes
	// tries of one append that may have been taken safe. A new one is taken
	// where it is unknown which sequence is next.
	producerID int64
	nextSeq    int32
	bench      *bench
}

// bench is what batches are built on; lanes without work have none.
type bench struct {
	builder *record.Builder
	batch   []byte
}

var benches = sync.Pool{New: func() any { return &bench{builder: record.NewBuilder(record.DefaultBuilderOptions())} }}

// keptBytes is the largest batch whose memory goes back to the pool.
const keptBytes = 4 << 20

func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.busy
}

func (l *lane) run() {
	b := benches.Get().(*bench)
	l.bench = b // a later run of this lane has another: keep to b after take said nil
	defer func() {
		if cap(b.batch) <= keptBytes {
			benches.Put(b)
		}
	}()
	for group := l.take(); len(group) > 0; group = l.take() {
		size := int64(0)
		for _, e := range group {
			size += int64(e.size)
		}
		l.flush(group)
		l.s.bytes.Release(size)
	}
}

// take removes the entries of the next batch from the queue. Nil ends the
// goroutine.
func (l *lane) take() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.busy, l.queue = false, nil
		return nil
	}
	first := l.queue[0]
	n, size, count := 1, first.size, first.count
	for ; n < len(l.queue) && !first.alone(); n++ {
		e := l.queue[n]
		size, count = size+e.size, count+e.count
		if e.alone() || e.acks != first.acks || e.codec != first.codec || size > first.maxBatch || count > maxRecords {
			break
		}
	}
	group := l.queue[:n:n]
	l.queue = l.queue[n:]
	return group
}

// flush appends one batch and tells everyone in it.
func (l *lane) flush(group []*entry) {
	group = stillWanted(group)
	if len(group) == 0 {
		return
	}
	ctx, cancel := l.context(group)
	defer cancel()
	ctx, ended := l.traced(ctx, group)
	res, err := l.appendGroup(ctx, group)
	ended(err)
	if err != nil && len(group) > 1 && blames(err) {
		for i := range group { // one is at fault; the others shall not pay
			l.flush(group[i : i+1])
		}
		return
	}
	if err == nil {
		l.s.metrics.batches.Inc()
		l.s.metrics.coalesced.Add(float64(len(group) - 1))
	}
	next := res.BaseOffset
	for _, e := range group {
		own := res
		own.BaseOffset, next = next, next+int64(e.count)
		own.Duplicate = res.Duplicate && (e.batch != nil || e.sequence != nil) // of our own tries nobody need know
		e.finish(own, err)
	}
}

// stillWanted finishes the entries whose caller has gone.
func stillWanted(group []*entry) []*entry {
	var out []*entry
	for _, e := range group {
		if err := e.ctx.Err(); err != nil {
			e.finish(storageclient.AppendResult{}, err)
			continue
		}
		out = append(out, e)
	}
	return out
}

// context lasts as long as anyone in the group waits, and ends with the server.
func (l *lane) context(group []*entry) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, e := range group {
		if d, ok := e.ctx.Deadline(); ok && d.After(last) {
			last = d
		}
	}
	return context.WithDeadline(l.s.life, last)
}

// blames tells whether an error is about the records rather than the way.
func blames(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.InvalidRecord, errcode.InvalidTimestamp, errcode.RecordTooLarge, errcode.BatchTooLarge,
		errcode.CorruptRecord, errcode.UnsupportedCompression:
		return true
	default:
		return false
	}
}

func (l *lane) appendGroup(ctx context.Context, group []*entry) (storageclient.AppendResult, error) {
	first := group[0]
	part := storageclient.AppendPartition{PartitionID: l.id, ExpectedOffset: first.expected}
	if first.batch != nil {
		part.Batch = first.batch
		res, _, err := l.append(ctx, part, first.acks, first.safe)
		return res, err
	}
	if p := first.sequence; p != nil {
		batch, err := l.build(group, p.GetProducerId(), int16(p.GetProducerEpoch()), p.GetSequence())
		if err != nil {
			return storageclient.AppendResult{}, err
		}
		part.Batch = batch
		res, _, err := l.append(ctx, part, first.acks, true)
		return res, err
	}
	return l.appendOwn(ctx, group, part)
}

// appendOwn appends under the gateway's own producer.
func (l *lane) appendOwn(ctx context.Context, group []*entry, part storageclient.AppendPartition) (storageclient.AppendResult, error) {
	for again := true; ; again = false {
		if l.producerID == record.NoProducerID {
			id, err := l.ids.next(ctx)
			if err != nil {
				return storageclient.AppendResult{}, err
			}
			l.producerID, l.nextSeq = id, 0
		}
		batch, err := l.build(group, l.producerID, 0, l.nextSeq)
		if err != nil {
			return storageclient.AppendResult{}, err
		}
		part.Batch = batch
		res, unknown, err := l.append(ctx, part, group[0].acks, true)
		switch {
		case err == nil:
			l.nextSeq = advance(l.nextSeq, l.bench.builder.Len())
			return res, nil
		case unknown || fenced(err):
			l.producerID = record.NoProducerID
		}
		if unknown || !fenced(err) || !again {
			return res, err
		}
	}
}

func advance(seq int32, n int) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// fenced tells that the partition does not take the producer's sequence: it
// lost what it knew of it.
func fenced(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.OutOfOrderSequence, errcode.InvalidProducerEpoch, errcode.UnknownProducer:
		return true
	default:
		return false
	}
}

func (l *lane) build(group []*entry, producerID int64, epoch int16, sequence int32) ([]byte, error) {
	b := l.bench
	b.builder.Reset(record.BuilderOptions{Codec: group[0].codec, ProducerID: producerID, ProducerEpoch: epoch, BaseSequence: sequence})
	for _, e := range group {
		for i := range e.records {
			b.builder.Append(&e.records[i])
		}
	}
	batch, err := b.builder.Build(b.batch[:0])
	if err != nil {
		return nil, invalidBatch(err)
	}
	b.batch = batch
	return batch, nil
}

// append asks the leader until it answers. A batch that may be in the log is
// only sent again where that is safe (rule G4). The outcome is unknown where
// an error came of a try that may have been taken.
func (l *lane) append(ctx context.Context, part storageclient.AppendPartition, acks storageclient.Acks, safe bool) (storageclient.AppendResult, bool, error) {
	tries := l.s.router.Attempts()
	unknown := false
	for {
		tries.Begin()
		res, sent, err := l.try(ctx, part, acks)
		if err == nil {
			return res, false, nil
		}
		if sent && mayBeAppended(err) {
			unknown = true
		}
		again := routing.Misrouted(err) || routing.Unreachable(err) || errcode.Is(err, errcode.NotEnoughReplicasAfterAppend)
		if !again || (unknown && !safe) || !tries.Wait(ctx) {
			return storageclient.AppendResult{}, unknown, err
		}
		l.s.metrics.retries.Inc()
	}
}

// try sends a batch once. Not sent means that no byte left.
func (l *lane) try(ctx context.Context, part storageclient.AppendPartition, acks storageclient.Acks) (res storageclient.AppendResult, sent bool, err error) {
	leader, err := l.s.router.Leader(l.id)
	if err != nil {
		return res, false, err
	}
	part.LeaderEpoch = leader.Epoch
	resp, err := leader.Append(ctx, &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{part}, Acks: acks})
	if err != nil {
		return res, true, unknownOutcome{errcode.Of(err)}
	}
	if len(resp.Results) != 1 {
		return res, true, unknownOutcome{errcode.New(errcode.Internal, "a storage node answered for %d partitions, 1 was asked", len(resp.Results))}
	}
	return resp.Results[0], true, resp.Results[0].Err
}

// unknownOutcome marks the error of a whole call.
type unknownOutcome struct{ error }

func (u unknownOutcome) Unwrap() error { return u.error }

func mayBeAppended(err error) bool {
	if _, whole := errors.AsType[unknownOutcome](err); whole {
		return true
	}
	switch errcode.ReasonOf(err) {
	case errcode.RequestTimedOut, errcode.NotEnoughReplicasAfterAppend, errcode.Canceled, errcode.StorageError, errcode.Internal:
		return true
	default:
		return false
	}
}
