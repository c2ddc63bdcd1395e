package native

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// flight is one batch on its way to its partition's leader.
type flight struct {
	l        *lane
	group    []*entry
	producer int64 // whose sequence it has, or NoProducerID
	sequence int32
	own      bool    // of the gateway's producer
	safe     bool    // has a sequence: it may be sent again
	barrier  bool    // nothing else is under way meanwhile
	begins   bool    // storage may know nothing of its producer, and would take what overtakes it
	before   *flight // of the same producer, and under way when this one left
	part     storageclient.AppendPartition
	built    *built // what the batch stands in; nil for a client's own

	// What became of it, once landed is closed.
	landed  chan struct{}
	result  storageclient.AppendResult
	unknown bool // it may have been appended, whatever err says
	err     error
}

// built is memory for a batch.
type built struct{ batch []byte }

var (
	builders = sync.Pool{New: func() any { return record.NewBuilder(record.DefaultBuilderOptions()) }}
	batches  = sync.Pool{New: func() any { return new(built) }}
)

// keptBytes is the largest batch whose memory goes back to the pool.
const keptBytes = 4 << 20

// send makes the batch and lets it fly. Only the lane's goroutine calls it.
func (f *flight) send() {
	l := f.l
	ctx, cancel := l.context(f.group)
	ctx, ended := l.traced(ctx, f.group)
	over := func(res storageclient.AppendResult, unknown bool, err error) {
		ended(err)
		cancel()
		l.land(f, res, unknown, err)
	}
	if err := f.prepare(ctx); err != nil {
		over(storageclient.AppendResult{}, false, err)
		return
	}
	l.wg.Go(func() { over(f.append(ctx)) })
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

// prepare builds the batch, where a client has not.
func (f *flight) prepare(ctx context.Context) error {
	first := f.group[0]
	switch {
	case first.batch != nil:
		return nil
	case first.sequence != nil:
		return f.build(first.producer, int16(first.sequence.GetProducerEpoch()))
	}
	id, err := f.l.producer(ctx)
	if err != nil {
		return err
	}
	return f.build(id, 0)
}

// producer returns the gateway's own producer in this partition. Where there is
// none yet, the flight that asks is the first, and the only one.
func (l *lane) producer(ctx context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.producerID == record.NoProducerID {
		l.mu.Unlock()
		id, err := l.ids.next(ctx)
		l.mu.Lock()
		if err != nil {
			return 0, err
		}
		l.producerID = id
	}
	return l.producerID, nil
}

func advance(seq int32, n int) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

func (f *flight) build(producerID int64, epoch int16) error {
	b := builders.Get().(*record.Builder)
	defer builders.Put(b)
	b.Reset(record.BuilderOptions{Codec: f.group[0].codec, ProducerID: producerID, ProducerEpoch: epoch, BaseSequence: f.sequence})
	for _, e := range f.group {
		for i := range e.records {
			b.Append(&e.records[i])
		}
	}
	into := batches.Get().(*built)
	batch, err := b.Build(into.batch[:0])
	if err != nil {
		batches.Put(into)
		return invalidBatch(err)
	}
	into.batch, f.part.Batch, f.built = batch, batch, into
	return nil
}

// free gives the batch's memory back: nobody sends it any more.
func (f *flight) free() {
	if f.built != nil && cap(f.built.batch) <= keptBytes {
		batches.Put(f.built)
	}
	f.built, f.part.Batch = nil, nil
}

// append asks the leader until it answers. A batch that may be in the log is
// only sent again where that is safe (rule G4). The outcome is unknown where
// an error came of a try that may have been taken.
func (f *flight) append(ctx context.Context) (storageclient.AppendResult, bool, error) {
	tries := f.l.s.router.Attempts()
	unknown := false
	for {
		tries.Begin()
		follows := f.follows()
		res, sent, err := f.try(ctx)
		if err == nil {
			return res, false, nil
		}
		if fenced(err) && follows { // it was too fast
			select {
			case <-f.before.landed:
				if f.own && f.before.err != nil {
					return storageclient.AppendResult{}, unknown, err // settle knows what to do
				}
				continue
			case <-ctx.Done():
				return storageclient.AppendResult{}, unknown, ctx.Err()
			}
		}
		if sent && mayBeAppended(err) {
			unknown = true
		}
		again := routing.Misrouted(err) || routing.Unreachable(err) || errcode.Is(err, errcode.NotEnoughReplicasAfterAppend)
		if !again || (unknown && !f.safe) || !tries.Wait(ctx) {
			return storageclient.AppendResult{}, unknown, err
		}
		f.l.s.metrics.retries.Inc()
	}
}

// follows tells whether the batch before is still under way.
func (f *flight) follows() bool {
	if f.before == nil {
		return false
	}
	select {
	case <-f.before.landed:
		return false
	default:
		return true
	}
}

// try sends a batch once. Not sent means that no byte left.
func (f *flight) try(ctx context.Context) (res storageclient.AppendResult, sent bool, err error) {
	leader, err := f.l.s.router.Leader(f.l.id)
	if err != nil {
		return res, false, err
	}
	f.part.LeaderEpoch = leader.Epoch
	resp, err := leader.Append(ctx, &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{f.part}, Acks: f.group[0].acks})
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

// fenced tells that the partition does not take the producer's sequence: it
// lost what it knew of it, or a batch before is missing.
func fenced(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.OutOfOrderSequence, errcode.InvalidProducerEpoch, errcode.UnknownProducer:
		return true
	default:
		return false
	}
}
