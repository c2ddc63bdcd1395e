package native

import (
	"context"
	"math"
	"strconv"
	"sync"

	"moldau.dev/gateway/guard"
	"moldau.dev/gateway/routing"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// checkTransactional checks a produce within a transaction.
func checkTransactional(req *moldauv1.ProduceRequest) error {
	h := req.GetTransaction()
	if h == nil {
		return nil
	}
	if err := checkHandle(h); err != nil {
		return err
	}
	if acksOf[req.GetAcks()] != storageclient.AcksAll {
		return errcode.New(errcode.InvalidAcks, "a transaction needs acks of all").WithField("acks")
	}
	if p := req.GetProducer(); p != nil && (p.GetProducerId() != h.GetProducerId() || p.GetProducerEpoch() != h.GetProducerEpoch()) {
		return invalid("producer", "its producer %d/%d is not the transaction's, %d/%d", p.GetProducerId(), p.GetProducerEpoch(), h.GetProducerId(), h.GetProducerEpoch())
	}
	return nil
}

// queueIn appends an entry, within a transaction where a handle is given.
func (s *Server) queueIn(h *moldauv1.TransactionHandle, id storageclient.PartitionID, e *entry) {
	if h == nil {
		s.lanes.add(id, e)
		return
	}
	s.txnLanes.add(id, &txnEntry{entry: e, txn: guard.Transaction{
		ID: h.GetTransactionalId(), ProducerID: h.GetProducerId(), ProducerEpoch: int16(h.GetProducerEpoch()), Version: nativeTransactions,
	}})
}

// maxTxnLanes are remembered, beyond those in use.
const maxTxnLanes = 10_000

// txnLanes are the ways of transactional producers to partitions.
type txnLanes struct {
	s  *Server
	wg sync.WaitGroup

	mu    sync.Mutex
	byKey map[txnKey]*txnLane
}

type txnKey struct {
	id         storageclient.PartitionID
	producerID int64
}

type txnEntry struct {
	*entry
	txn guard.Transaction
}

// txnLane is the way of one producer to one partition. One append is under way
// at a time, so that the order of the calls is the order of the log.
type txnLane struct {
	s  *Server
	id storageclient.PartitionID

	// Under the mutex of txnLanes.
	queue []*txnEntry
	busy  bool

	// Of the goroutine: which sequence comes next in an epoch. It is a guess that
	// storage corrects: other gateways may have appended for the same producer.
	epoch   int16
	nextSeq int32
}

func (ls *txnLanes) add(id storageclient.PartitionID, e *txnEntry) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	key := txnKey{id, e.txn.ProducerID}
	l := ls.byKey[key]
	if l == nil {
		if len(ls.byKey) >= maxTxnLanes {
			ls.forgetIdle()
		}
		l = &txnLane{s: ls.s, id: id}
		ls.byKey[key] = l
	}
	l.queue = append(l.queue, e)
	if !l.busy {
		l.busy = true
		ls.wg.Go(func() { ls.run(l) })
	}
}

func (ls *txnLanes) forgetIdle() {
	for key, l := range ls.byKey {
		if !l.busy {
			delete(ls.byKey, key)
		}
	}
}

// run appends what is queued, one after the other.
func (ls *txnLanes) run(l *txnLane) {
	for e := ls.take(l); e != nil; e = ls.take(l) {
		l.serve(e)
		ls.s.bytes.Release(int64(e.size))
	}
}

func (ls *txnLanes) take(l *txnLane) *txnEntry {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(l.queue) == 0 {
		l.busy, l.queue = false, nil
		return nil
	}
	e := l.queue[0]
	l.queue = l.queue[1:]
	return e
}

func (l *txnLane) serve(e *txnEntry) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	defer context.AfterFunc(l.s.life, cancel)()
	res, err := l.append(ctx, e)
	if err == nil {
		l.s.metrics.batches.Inc()
	}
	e.finish(res, err)
}

func (l *txnLane) append(ctx context.Context, e *txnEntry) (storageclient.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return storageclient.AppendResult{}, err // nobody waits
	}
	switch {
	case e.batch != nil:
		res, _, err := l.send(ctx, e, e.batch, true)
		return res, err
	case e.sequence != nil:
		batch, err := buildIn(e, e.sequence.GetSequence())
		if err != nil {
			return storageclient.AppendResult{}, err
		}
		res, _, err := l.send(ctx, e, batch, true)
		return res, err
	default:
		return l.appendNext(ctx, e)
	}
}

// corrections are how often the sequence is corrected for one entry.
const corrections = 5

// appendNext appends records whose client counts no sequence. An append under a
// sequence that somebody else has used is not this one's, and is done again
// under the next; one whose outcome is not known cannot be told from another's
// any more: the transaction is fit to be aborted.
func (l *txnLane) appendNext(ctx context.Context, e *txnEntry) (res storageclient.AppendResult, err error) {
	if l.epoch != e.txn.ProducerEpoch {
		l.epoch, l.nextSeq = e.txn.ProducerEpoch, 0
	}
	for range corrections {
		batch, err := buildIn(e, l.nextSeq)
		if err != nil {
			return res, err
		}
		res, unknown, err := l.send(ctx, e, batch, false)
		switch expected, known := expectedSequence(err); {
		case unknown:
			return res, errcode.Wrap(err, errcode.TransactionAbortable, "it is not known whether the records were appended: %s", errcode.Of(err).Message)
		case err == nil && !res.Duplicate:
			l.nextSeq = sequenceAfter(l.nextSeq, e.count)
			return res, nil
		case err == nil:
			if l.nextSeq, err = l.lookUp(ctx, e); err != nil {
				return res, err
			}
		case known:
			l.nextSeq = expected
		default:
			return res, err
		}
	}
	return res, errcode.New(errcode.TransactionAbortable, "others append to the same partition in the same transaction")
}

func expectedSequence(err error) (int32, bool) {
	if !errcode.Is(err, errcode.OutOfOrderSequence) {
		return 0, false
	}
	n, bad := strconv.ParseInt(errcode.Of(err).Metadata["expected_sequence"], 10, 32)
	return int32(n), bad == nil
}

func sequenceAfter(seq int32, n int) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// lookUp asks the leader which sequence comes next.
func (l *txnLane) lookUp(ctx context.Context, e *txnEntry) (int32, error) {
	leader, err := l.s.router.Leader(l.id)
	if err != nil {
		return 0, err
	}
	known, err := leader.DescribeProducers(ctx, []storageclient.PartitionID{l.id})
	if err != nil {
		return 0, err
	}
	if err := known[0].Err; err != nil {
		return 0, err
	}
	for _, p := range known[0].Producers {
		if p.ProducerID == e.txn.ProducerID && p.ProducerEpoch == e.txn.ProducerEpoch && p.LastSequence >= 0 {
			return sequenceAfter(p.LastSequence, 1), nil
		}
	}
	return 0, nil
}

func buildIn(e *txnEntry, sequence int32) ([]byte, error) {
	b := record.NewBuilder(record.BuilderOptions{
		Codec: e.codec, ProducerID: e.txn.ProducerID, ProducerEpoch: e.txn.ProducerEpoch, BaseSequence: sequence, Transactional: true,
	})
	for i := range e.records {
		b.Append(&e.records[i])
	}
	batch, err := b.Build(nil)
	if err != nil {
		return nil, invalidBatch(err)
	}
	return batch, nil
}

// send asks the leader until it answers, and where again is set also until it
// is known what became of the batch.
func (l *txnLane) send(ctx context.Context, e *txnEntry, batch []byte, again bool) (res storageclient.AppendResult, unknown bool, err error) {
	tries := l.s.router.Attempts()
	for {
		tries.Begin()
		var sent bool
		res, sent, err = l.sendOnce(ctx, e, batch)
		if err == nil {
			return res, false, nil
		}
		unknown = unknown || sent && mayBeAppended(err)
		retry := routing.Misrouted(err) || routing.Unreachable(err) || errcode.Is(err, errcode.NotEnoughReplicas) || errcode.Is(err, errcode.NotEnoughReplicasAfterAppend)
		if !retry || unknown && !again || !tries.Wait(ctx) {
			return res, unknown, err
		}
		l.s.metrics.retries.Inc()
	}
}

func (l *txnLane) sendOnce(ctx context.Context, e *txnEntry, batch []byte) (res storageclient.AppendResult, sent bool, err error) {
	leader, err := l.s.router.Leader(l.id)
	if err != nil {
		return res, false, err
	}
	resp, err := l.s.guard.Append(ctx, leader, &e.txn, &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{{
		PartitionID: l.id, LeaderEpoch: leader.Epoch, Batch: batch, ExpectedOffset: e.expected,
	}}})
	if err != nil {
		return res, true, unknownOutcome{errcode.Of(err)}
	}
	return resp.Results[0], true, resp.Results[0].Err
}
