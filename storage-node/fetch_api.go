package storagenode

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/storageclient"
)

// Fetch implements storageclient.Storage. It answers at once where MinBytes
// are there, where a partition has an error, or where nothing is asked for
// (KIP-74; Kafka's DelayedFetch).
func (s *Service) Fetch(ctx context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	start := s.clock.Now()
	f := newFetch(s, req)
	f.read()
	if !f.enough() && req.MaxWaitMs > 0 {
		if err := f.wait(ctx); err != nil {
			f.release()
			return nil, err
		}
	}
	resp := f.response()
	s.metrics.fetch.Observe(s.clock.Since(start).Seconds())
	return resp, nil
}

// fetch is one Fetch under way. What it has read it keeps: a round after a
// wake-up reads on from there.
type fetch struct {
	node   *Service
	req    *storageclient.FetchRequest
	parts  []fetchPart
	total  int // bytes read
	max    int
	failed bool
	held   int64 // bytes taken of the node's budget

	diverging bool // a part is
}

type fetchPart struct {
	in   *storageclient.FetchPartition
	p    *partition
	r    *role
	log  *commitlog.Log
	err  error
	next int64 // offset to read from
	buf  []byte
	own  *[]byte // pooled buffer that buf lies in
	// slice is where the batches lie in place of buf.
	slice commitlog.Slice
	// aborted are the aborted transactions of what buf holds, perhaps more than
	// once, as each read found them.
	aborted []commitlog.Aborted
	// diverging, unless nil, is where the caller's log and this one part.
	diverging *storageclient.EpochEnd
}

func newFetch(s *Service, req *storageclient.FetchRequest) *fetch {
	f := &fetch{node: s, req: req, parts: make([]fetchPart, len(req.Partitions)), max: min(req.MaxBytes, s.cfg.MaxFetchBytes)}
	for i := range req.Partitions {
		in, part := &req.Partitions[i], &f.parts[i]
		part.in, part.next = in, in.Offset
		if part.p, part.err = s.partition(in.PartitionID); part.err != nil {
			continue
		}
		if part.r, part.err = part.p.leads(in.LeaderEpoch); part.err != nil {
			continue
		}
		if part.log, part.err = part.p.open(); part.err != nil {
			continue
		}
		if part.err = part.readable(); part.err == nil && in.OwnerEpoch > 0 {
			part.err = part.p.owned(part.log, part.r, in.OwnerEpoch)
		}
		f.diverging = f.diverging || part.diverging != nil
	}
	return f
}

// readable says whether the fetch may start at its offset: in [start, end], of
// which what lies at or after the high watermark gives nothing yet.
func (part *fetchPart) readable() error {
	first, end := part.log.StartOffset(), part.log.EndOffset()
	if part.next < first {
		return part.p.outOfRange(part.log, part.next)
	}
	if epoch := part.in.LastFetchedEpoch; epoch != nil {
		if err := part.compare(*epoch); err != nil || part.diverging != nil {
			return err
		}
	}
	if part.next > end {
		if err := part.p.newest(part.r); err != nil {
			return err // it may be in range once the leader knows more
		}
		return part.p.outOfRange(part.log, part.next)
	}
	return nil
}

// hidden tells whether a reader asks for what a new leader holds and does not
// know yet to be committed, though a former one may have shown it (R8).
func (part *fetchPart) hidden() bool {
	return part.err == nil && part.diverging == nil && len(part.buf) == 0 && part.slice.Size == 0 &&
		!part.p.replica.known.Load() && part.next > part.p.highWatermark.Load()
}

// compare holds the epoch of the caller's last record against the log: where
// that epoch ended before the caller's offset, or is not in the log at all, the
// caller has records that this log does not have, and is told where its own must
// end (KIP-595, R14).
func (part *fetchPart) compare(epoch int32) error {
	end := part.p.epochEnd(part.log, part.r, epoch)
	switch {
	case end == noEpoch:
		return errcode.New(errcode.OffsetOutOfRange, "leader epoch %d is not known here", epoch)
	case end.Epoch < epoch || end.EndOffset < part.next:
		part.diverging = &end
	}
	return nil
}

// unsettled tells whether an owner reads a journal whose end it cannot see yet.
func (part *fetchPart) unsettled() bool {
	return part.err == nil && part.in.OwnerEpoch > 0 && !part.p.settled()
}

func (p *partition) outOfRange(l *commitlog.Log, offset int64) error {
	first, hw := l.StartOffset(), p.highWatermark.Load()
	return errcode.New(errcode.OffsetOutOfRange, "offset %d is not in [%d, %d]", offset, first, hw).
		With("earliest_offset", first).With("latest_offset", hw)
}

// enough says that there is no reason to wait.
func (f *fetch) enough() bool {
	return f.failed || f.diverging || f.total >= f.max || len(f.parts) == 0 || f.total >= f.req.MinBytes && !f.unsettled()
}

func (f *fetch) unsettled() bool {
	for i := range f.parts {
		if f.parts[i].unsettled() {
			return true
		}
	}
	return false
}

// read reads on in every partition, within the limits.
func (f *fetch) read() {
	for i := range f.parts {
		part := &f.parts[i]
		if part.err == nil && part.diverging == nil && f.failedSince(part) == nil {
			f.readPart(part)
		}
		f.failed = f.failed || part.err != nil
	}
}

// failedSince looks whether the partition was lost while the fetch waited.
func (f *fetch) failedSince(part *fetchPart) error {
	if part.p.role.Load() != part.r {
		if _, part.err = part.p.leads(part.r.leaderEpoch); part.err != nil {
			return part.err
		}
	}
	if fault := part.p.fault.Load(); fault != nil && fault.Reason != errcode.DataCorrupted {
		part.err = part.p.refusal(fault)
	}
	if epoch := part.in.OwnerEpoch; epoch > 0 && part.err == nil {
		part.err = part.p.owned(part.log, part.r, epoch)
	}
	return part.err
}

func (f *fetch) readPart(part *fetchPart) {
	f.unslice(part)
	bound := part.p.bound(f.req.ReadCommitted)
	if part.next >= bound {
		return
	}
	// The first batch of the whole answer is given however large it is, so that
	// a reader always gets on (KIP-74).
	first := f.total == 0
	limit := min(part.in.MaxBytes-len(part.buf), f.max-f.total)
	if limit <= 0 && !first {
		return
	}
	limit = max(limit, 1)
	if f.sliced(part, bound, limit, first) {
		return
	}
	if !f.grow(part, part.p.room(part.log, part.next, bound, limit)) {
		return
	}
	had := len(part.buf)
	buf, next, aborted, err := readLog(part.log, readRange{part.next, bound, limit, first, f.req.ReadCommitted}, part.buf)
	part.buf, part.aborted = buf, append(part.aborted, aborted...)
	f.total += len(buf) - had
	if errors.Is(err, commitlog.ErrOffsetOutOfRange) { // retention was here meanwhile
		err = part.p.outOfRange(part.log, part.next)
	} else if err != nil {
		err = part.p.readError(part.log, err)
	}
	part.err, part.next = err, next
}

// room guesses how large a buffer a read of [from, to) needs, so that a fetch
// of many partitions with generous limits takes no more memory than they have
// to give: their share of the log by offsets, doubled, and one batch. Where it
// guesses too low the read makes room itself.
func (p *partition) room(l *commitlog.Log, from, to int64, limit int) int {
	batch := int(p.largest.Load())
	if batch == 0 {
		batch = int(p.role.Load().config.MaxMessageBytes)
	}
	perOffset := perOffset(l)
	if to-from >= int64(limit)/perOffset {
		return max(limit, min(batch, 2*limit))
	}
	return min(max(limit, batch), 2*int((to-from)*perOffset)+batch)
}

// perOffset is about how many bytes an offset of the log takes.
func perOffset(l *commitlog.Log) int64 {
	return l.Size()/max(l.EndOffset()-l.StartOffset(), 1) + 1
}

// grow makes room for limit more bytes, out of the node's budget. Where the
// budget is spent the partition is not read now: the fetch answers with what it
// has, or waits.
func (f *fetch) grow(part *fetchPart, limit int) bool {
	if cap(part.buf)-len(part.buf) >= limit {
		return true
	}
	own := readBuffers.get(len(part.buf) + limit)
	size := int64(cap(*own))
	if !f.node.fetchBytes.TryAcquire(size) {
		readBuffers.put(own)
		return false
	}
	f.held += size
	part.buf = append(*own, part.buf...)
	if part.own != nil {
		f.held -= int64(cap(*part.own))
		f.node.fetchBytes.Release(int64(cap(*part.own)))
		readBuffers.put(part.own)
	}
	part.own = own
	return true
}

// readError gives an error of reading its reason. Damaged data is reported, and
// nothing more is appended to it (rule N6).
func (p *partition) readError(l *commitlog.Log, err error) error {
	e := storageError(err)
	if e.Reason == errcode.DataCorrupted {
		p.failedBy(l, e)
		return p.refusal(e)
	}
	return e
}

// readRange says what to read of a log: batches from an offset on that begin
// before bound, about limit bytes of them (see commitlog.Log.Read).
type readRange struct {
	from, bound int64
	limit       int
	wholeFirst  bool
	committed   bool // tell aborted transactions too
}

// readLog appends batches to dst and returns the offset after the last of them.
func readLog(l *commitlog.Log, r readRange, dst []byte) (_ []byte, next int64, aborted []commitlog.Aborted, err error) {
	had := len(dst)
	if r.committed {
		dst, aborted, err = l.ReadCommitted(r.from, r.bound, r.limit, r.wholeFirst, dst)
	} else {
		dst, err = l.Read(r.from, r.bound, r.limit, r.wholeFirst, dst)
	}
	next = r.from
	for rest := dst[had:]; len(rest) > 0; {
		_, after, h, bad := record.Next(rest)
		if bad != nil {
			return dst[:had], r.from, nil, errors.Join(err, bad)
		}
		next, rest = h.NextOffset(), after
	}
	return dst, next, aborted, err
}

// abortedTransactions returns what the reads found, each once, by first offset.
func (part *fetchPart) abortedTransactions() []storageclient.AbortedTransaction {
	slices.SortFunc(part.aborted, func(a, b commitlog.Aborted) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	var out []storageclient.AbortedTransaction
	for _, a := range slices.Compact(part.aborted) {
		out = append(out, storageclient.AbortedTransaction{ProducerID: a.ProducerID, FirstOffset: a.First})
	}
	return out
}

// wait reads on as the partitions move until there is enough or the time is
// up.
func (f *fetch) wait(ctx context.Context) error {
	w := newWaiter()
	defer f.leave(w)
	timer := f.node.clock.NewTimer(time.Duration(f.req.MaxWaitMs) * time.Millisecond)
	defer timer.Stop()
	for {
		f.queue(w)
		f.read() // also what came between the last look and this one
		if f.enough() {
			return nil
		}
		if done, err := f.node.sleep(ctx, w, timer); done || err != nil {
			return err
		}
	}
}

// queue makes w wait for each partition's next move. Where the high watermark
// is ahead already, what is read waits for a transaction to be decided, and so
// for a marker that the high watermark passes.
func (f *fetch) queue(w *waiter) {
	for i := range f.parts {
		part := &f.parts[i]
		part.p.waiting.add(w, max(part.next, part.p.highWatermark.Load())+1)
	}
}

func (f *fetch) leave(w *waiter) {
	for i := range f.parts {
		f.parts[i].p.waiting.remove(w)
	}
}

// sleep returns when w is poked, or done once the time is up or the node
// drains.
func (s *Service) sleep(ctx context.Context, w *waiter, timer clock.Timer) (done bool, err error) {
	select {
	case <-w.poke:
		return false, nil
	case <-timer.C():
		return true, nil
	case <-s.draining:
		return true, nil
	case <-ctx.Done():
		return true, errcode.Of(ctx.Err())
	}
}

func (f *fetch) response() *storageclient.FetchResponse {
	results := make([]storageclient.FetchResult, len(f.parts))
	for i := range f.parts {
		part, out := &f.parts[i], &results[i]
		if part.unsettled() {
			part.err, part.buf = part.p.unsettled(), nil
			f.unslice(part)
		}
		if part.hidden() {
			part.err = part.p.newest(part.r)
		}
		if part.err != nil && len(part.buf) == 0 && part.slice.Size == 0 {
			*out = storageclient.FetchResult{
				Err: errcode.Of(part.err), HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, LeaderEpoch: -1,
			}
			continue
		}
		stable := part.p.lastStable() // before the high watermark, which it never passes
		*out = storageclient.FetchResult{
			Batches: part.buf, Slice: part.place(), HighWatermark: part.p.highWatermark.Load(), LastStableOffset: stable,
			LogStartOffset: part.log.StartOffset(), LeaderEpoch: part.r.leaderEpoch,
			Aborted: part.abortedTransactions(), Diverging: part.diverging,
		}
		part.r.counters.fetched(part.buf)
		part.r.counters.sliced(part.slice.Size, part.slice.Next-part.in.Offset)
	}
	return storageclient.NewFetchResponse(results, f.release)
}

// release gives the buffers and their share of the budget back.
func (f *fetch) release() {
	for i := range f.parts {
		f.unslice(&f.parts[i])
		if own := f.parts[i].own; own != nil {
			readBuffers.put(own)
			f.parts[i].own, f.parts[i].buf = nil, nil
		}
	}
	f.node.fetchBytes.Release(f.held)
	f.held = 0
}
