package storagenode

import (
	"context"
	"errors"
	"slices"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/storageclient"
)

// Append implements storageclient.Storage. The batches of a request are
// appended one after the other and then waited for together, so that one fsync
// round serves them all.
func (s *Service) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	start := s.clock.Now()
	size := int64(0)
	for i := range req.Partitions {
		size += int64(len(req.Partitions[i].Batch))
	}
	size = min(size, s.cfg.MaxInFlightBytes)
	if err := s.appendBytes.Acquire(ctx, size); err != nil {
		return nil, errcode.Of(err)
	}
	defer s.appendBytes.Release(size)

	resp := &storageclient.AppendResponse{Results: make([]storageclient.AppendResult, len(req.Partitions))}
	pending := make([]pendingAppend, len(req.Partitions))
	for i := range req.Partitions {
		pending[i] = s.appendOne(&req.Partitions[i], req.Acks, &resp.Results[i])
	}
	if req.Acks == storageclient.AcksAll {
		if req.Ordered != nil && placed(resp.Results) && slices.ContainsFunc(pending, pendingAppend.waits) {
			req.Ordered()
		}
		for i := range pending {
			if err := pending[i].wait(ctx); err != nil {
				resp.Results[i] = failedAppend(err)
			}
		}
	}
	s.metrics.append.Observe(s.clock.Since(start).Seconds())
	return resp, nil
}

// placed tells whether all batches are in the log.
func placed(results []storageclient.AppendResult) bool {
	return !slices.ContainsFunc(results, func(r storageclient.AppendResult) bool { return r.Err != nil || r.VerifyGuard != 0 })
}

// pendingAppend is a batch in the log that may not be answered yet.
type pendingAppend struct {
	p     *partition
	end   int64 // after the batch
	reign int64 // of the replica when it was appended
}

// waits tells whether wait would.
func (a pendingAppend) waits() bool {
	done, _ := a.done()
	return !done
}

// wait returns once the high watermark has passed the batch, or can no longer.
func (a pendingAppend) wait(ctx context.Context) error {
	if a.p == nil {
		return nil
	}
	if done, err := a.done(); done {
		return err
	}
	w := newWaiter()
	a.p.waiting.add(w, a.end)
	defer a.p.waiting.remove(w)
	for {
		if done, err := a.done(); done {
			return err
		}
		select {
		case <-w.poke:
		case <-ctx.Done():
			return errcode.Of(ctx.Err())
		}
	}
}

// done tells whether the batch is committed, or why it will not be known to be:
// its records may be in the log all the same (as Kafka's
// checkEnoughReplicasReachOffset), so that no error here is one of those that
// say that nothing was appended.
func (a pendingAppend) done() (bool, error) {
	p, r := a.p, a.p.role.Load()
	hw := p.highWatermark.Load()
	if p.replica.reign.Load() != a.reign || r.leader != p.node.cfg.NodeID {
		return true, notConfirmed("%s-%d is now led by node %d, which may have the batch", r.topic, p.id.Index, r.leader)
	}
	if hw >= a.end {
		if p.replica.alone.Load() && p.leased(r) != nil {
			return true, notConfirmed("node %d cannot be sure that it still leads %s-%d", p.node.cfg.NodeID, r.topic, p.id.Index)
		}
		return true, nil
	}
	if p.handsOver(r) {
		return false, nil // and the next role tells what became of it
	}
	if f := p.fault.Load(); f != nil {
		return true, f
	}
	if have, need := p.replica.inSync.Load(), p.replica.minISR.Load(); have < need {
		return true, notConfirmed("%d replicas in sync, %d wanted", have, need)
	}
	return false, nil
}

// notConfirmed is the error of an append that is in the log and may be cut off.
func notConfirmed(format string, args ...any) error {
	return errcode.New(errcode.NotEnoughReplicasAfterAppend, format, args...)
}

func failedAppend(err error) storageclient.AppendResult {
	return storageclient.AppendResult{Err: errcode.Of(err), BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1, LeaderEpoch: -1}
}

// appendOne appends one batch and fills in its result.
func (s *Service) appendOne(in *storageclient.AppendPartition, acks storageclient.Acks, out *storageclient.AppendResult) pendingAppend {
	p, err := s.partition(in.PartitionID)
	if err == nil {
		var pending pendingAppend
		if *out, pending, err = p.append(in, acks); err == nil {
			return pending
		}
	}
	*out = failedAppend(err)
	if p != nil && tellsStart(err) {
		out.LogStartOffset = p.logStart()
	}
	return pendingAppend{}
}

// tellsStart tells whether a refusal comes with the log's start, as Kafka's do
// (ReplicaManager.appendRecordsToLeader): all do but those of who does not lead,
// of whose log is broken, and of batches that are too large or damaged.
func tellsStart(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.NotLeader, errcode.FencedLeaderEpoch, errcode.UnknownLeaderEpoch, errcode.UnknownTopicID, errcode.UnknownPartition,
		errcode.ShuttingDown, errcode.StorageError, errcode.DiskFull, errcode.DataCorrupted, errcode.RecordTooLarge, errcode.BatchTooLarge,
		errcode.CorruptRecord:
		return false
	default:
		return true
	}
}

// logStart is the first offset of an open log, or -1.
func (p *partition) logStart() int64 {
	if l := p.log.Load(); l != nil {
		return l.StartOffset()
	}
	return -1
}

// append validates a batch, orders it and writes it, once those before it are
// there. What is pending is it, or the batch that it is a duplicate of.
func (p *partition) append(in *storageclient.AppendPartition, acks storageclient.Acks) (storageclient.AppendResult, pendingAppend, error) {
	none, nothing := storageclient.AppendResult{}, pendingAppend{}
	r, err := p.leads(in.LeaderEpoch)
	if err != nil {
		return none, nothing, err
	}
	if acks == storageclient.AcksAll {
		if err := p.enoughReplicas(r); err != nil {
			return none, nothing, err
		}
	}
	now := p.node.clock.Now()
	batch, h, err := r.prepare(in.Batch, now)
	if err != nil {
		return none, nothing, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out, pending, err := p.order(in, batch, &h, now)
	if !early(err, &h) {
		return out, pending, err
	}
	timer := p.node.clock.NewTimer(earlyWait)
	defer timer.Stop()
	for early(err, &h) && p.awaitEarlier(timer) {
		out, pending, err = p.order(in, batch, &h, now)
	}
	return out, pending, err
}

// upTo is what is in the log up to an offset; the caller holds mu.
func (p *partition) upTo(end int64) pendingAppend {
	return pendingAppend{p, end, p.replica.reign.Load()}
}

// order gives a checked batch its place and writes it there; the caller holds
// mu.
func (p *partition) order(in *storageclient.AppendPartition, batch []byte, h *record.Header, now time.Time) (storageclient.AppendResult, pendingAppend, error) {
	none, nothing := storageclient.AppendResult{}, pendingAppend{}
	l, r, err := p.led(in.LeaderEpoch) // may have changed meanwhile
	if err != nil {
		return none, nothing, err
	}
	if err := p.admitOwner(l, r, in.OwnerEpoch); err != nil {
		return none, nothing, err
	}
	verdict, err := p.producers.Check(h, producer.Request{
		Guard: in.Guard, LeaderEpoch: r.leaderEpoch, TransactionVersion: in.TransactionVersion, NowMs: now.UnixMilli(),
	})
	if err != nil {
		return none, nothing, err
	}
	if dup := verdict.Duplicate; dup != nil {
		return storageclient.AppendResult{
			BaseOffset: dup.BaseOffset, LogAppendTimeMs: dup.AppendTimeMs, LogStartOffset: l.StartOffset(),
			LeaderEpoch: r.leaderEpoch, Duplicate: true,
		}, p.upTo(dup.LastOffset + 1), nil
	}
	if verdict.VerifyGuard != 0 {
		return storageclient.AppendResult{
			BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: l.StartOffset(),
			LeaderEpoch: r.leaderEpoch, VerifyGuard: verdict.VerifyGuard,
		}, nothing, nil
	}
	if want := in.ExpectedOffset; want != nil && *want != l.EndOffset() {
		return none, nothing, errcode.New(errcode.OffsetMismatch, "the log ends at %d, %d was expected", l.EndOffset(), *want).
			With("end_offset", l.EndOffset())
	}
	if err := p.write(l, r, batch, h, now); err != nil {
		return none, nothing, err
	}
	return storageclient.AppendResult{
		BaseOffset: h.BaseOffset, LogAppendTimeMs: appendTime(h), LogStartOffset: l.StartOffset(), LeaderEpoch: r.leaderEpoch,
	}, p.upTo(h.NextOffset()), nil
}

// enoughReplicas refuses what must be on min.insync.replicas where there are
// fewer.
func (p *partition) enoughReplicas(r *role) error {
	have, need := int32(len(r.state.ISR)), int32(r.state.MinISR)
	if b := p.replica.became.Load(); b != nil && *b == p.tenure() { // the core knows first
		have, need = p.replica.inSync.Load(), p.replica.minISR.Load()
	}
	if have < need {
		return errcode.New(errcode.NotEnoughReplicas, "%d replicas in sync, %d wanted", have, need)
	}
	return nil
}

// write puts a checked batch at the log's end; the caller holds mu.
func (p *partition) write(l *commitlog.Log, r *role, batch []byte, h *record.Header, now time.Time) error {
	h.BaseOffset, h.LeaderEpoch = l.EndOffset(), r.leaderEpoch
	record.SetBaseOffset(batch, h.BaseOffset)
	record.SetLeaderEpoch(batch, h.LeaderEpoch)
	if err := p.take(l, batch, h, now); err != nil {
		return err
	}
	r.counters.appended(len(batch), int(h.Count))
	p.appended(h.NextOffset())
	if r.config.Durable {
		p.node.flusher.mark(p)
	}
	return nil
}

// take appends a batch, its offsets set, and tells the producers of it: on a
// leader as on a follower. The caller holds mu.
func (p *partition) take(l *commitlog.Log, batch []byte, h *record.Header, now time.Time) error {
	p.producers.Begin(h)
	if err := l.Append(batch, *h, now); err != nil {
		p.producers.Cancel(h)
		if e := storageError(err); e.Reason == errcode.DiskFull {
			p.node.mender.failed(p, true)
			return e // nothing was appended; there may be room again later
		}
		return p.fail(err)
	}
	p.largest.Store(max(p.largest.Load(), int64(len(batch))))
	p.producers.Apply(batch, h, now.UnixMilli())
	p.wakeEarly()
	return nil
}

func appendTime(h *record.Header) int64 {
	if h.LogAppendTime() {
		return h.MaxTimestamp
	}
	return -1
}

// prepare checks a batch against the topic's rules and gives it the timestamp
// and the compression that the topic demands. It runs outside the partition's
// lock: it is all the CPU that an append costs.
func (r *role) prepare(batch []byte, now time.Time) ([]byte, record.Header, error) {
	c := &r.config
	rules := record.ProduceRules{MaxBatchBytes: int(c.MaxMessageBytes), RequireKeys: c.CleanupCompact}
	if !c.LogAppendTime {
		rules.EarliestTimestamp = max(now.UnixMilli()-c.TimestampBeforeMax.Milliseconds(), 0)
		rules.LatestTimestamp = now.UnixMilli() + c.TimestampAfterMax.Milliseconds()
	}
	h, err := record.ValidateProduced(batch, rules)
	if err != nil {
		return nil, h, invalidBatch(err)
	}
	if len(batch) > int(c.SegmentBytes) {
		return nil, h, errcode.New(errcode.BatchTooLarge, "a batch of %d bytes, a segment holds %d", len(batch), c.SegmentBytes)
	}
	changed := false
	if r.recompress && h.Codec() != r.codec {
		if batch, err = recompress(batch, &h, r.codec); err != nil {
			return nil, h, invalidBatch(err)
		}
		changed = true
	}
	if c.LogAppendTime {
		record.SetLogAppendTime(batch, now.UnixMilli())
		changed = true
	} else if sent, err := record.ParseHeader(batch); err != nil || sent.MaxTimestamp != h.MaxTimestamp {
		record.SetMaxTimestamp(batch, h.MaxTimestamp)
		changed = true
	}
	if changed {
		h, err = record.ParseHeader(batch)
	}
	return batch, h, err
}

// recompress builds the batch anew with another codec.
func recompress(batch []byte, h *record.Header, codec record.Codec) ([]byte, error) {
	b := record.NewBuilder(record.BuilderOptions{
		Codec: codec, ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch,
		BaseSequence: h.BaseSequence, Transactional: h.Transactional(),
	})
	err := record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
		b.Append(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b.Build(nil)
}

var invalidReasons = map[record.Reason]errcode.Reason{
	record.Corrupt:          errcode.CorruptRecord,
	record.InvalidRecord:    errcode.InvalidRecord,
	record.UnsupportedCodec: errcode.UnsupportedCompression,
	record.TooLarge:         errcode.RecordTooLarge,
	record.InvalidTimestamp: errcode.InvalidTimestamp,
}

func invalidBatch(err error) error {
	bad, ok := errors.AsType[*record.InvalidError](err)
	if !ok {
		return err
	}
	e := errcode.Wrap(err, invalidReasons[bad.Reason], "%s", bad.Error())
	if bad.Index >= 0 {
		e = e.With("record_index", bad.Index)
	}
	return e
}
