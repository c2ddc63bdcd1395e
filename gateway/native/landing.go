package native

import (
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// land takes in what became of a flight, and lets others go.
func (l *lane) land(f *flight, res storageclient.AppendResult, unknown bool, err error) {
	over := []*flight{f}
	l.mu.Lock()
	f.result, f.unknown, f.err, f.before = res, unknown, err, nil
	close(f.landed)
	switch {
	case f.err == nil:
		l.hear(f.producer)
	case f.own:
		l.failed, over = true, nil
	}
	if l.failed && !l.ownFlies() {
		over = append(over, l.settle()...)
	}
	l.prune()
	l.start()
	l.mu.Unlock()
	for _, f := range over {
		l.tell(f)
	}
}

// hear notes that storage knows a producer.
func (l *lane) hear(producer int64) {
	if len(l.heard) >= manyHeard {
		clear(l.heard)
	}
	l.heard[producer] = l.s.clk.Now()
}

func (f *flight) isLanded() bool {
	select {
	case <-f.landed:
		return true
	default:
		return false
	}
}

// ownFlies tells whether one of the gateway's own batches is under way.
func (l *lane) ownFlies() bool {
	for _, f := range l.flying {
		if f.own && !f.isLanded() {
			return true
		}
	}
	return false
}

// settle decides about the gateway's own batches that failed, all having
// landed. One that was refused because one before it had failed was never
// appended: it goes to the front of the queue, under a sequence that has no
// gap. It returns those whose error is final. The caller holds mu.
func (l *lane) settle() (final []*flight) {
	l.failed = false
	var again []*entry
	first := true
	for _, f := range l.flying {
		if !f.own || f.err == nil {
			continue
		}
		if first {
			l.nextSeq = f.sequence
		}
		if f.unknown || first && fenced(f.err) {
			l.producerID, l.nextSeq = record.NoProducerID, 0
			delete(l.heard, f.producer)
		}
		switch {
		case !f.unknown && fenced(f.err) && !(first && f.group[0].renewed):
			for _, e := range f.group {
				e.renewed = e.renewed || first
			}
			again = append(again, f.group...)
			f.group = nil
		case !f.unknown && blames(f.err) && len(f.group) > 1:
			for _, e := range f.group { // one is at fault; the others shall not pay
				e.solo = true
			}
			again = append(again, f.group...)
			f.group = nil
		case f.unknown && fenced(f.err):
			f.err = errcode.Wrap(f.err, errcode.RequestTimedOut, "a batch before it failed; whether it was appended is not known")
		}
		final = append(final, f)
		first = false
	}
	for _, e := range again {
		l.queued += e.size
	}
	l.queue = append(again, l.queue...)
	return final
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

// prune drops what has landed from flying, but what waits to be settled, and
// what is newer than a batch of its producer that is still under way. The
// caller holds mu.
func (l *lane) prune() {
	kept := l.flying[:0]
	for _, f := range l.flying {
		waits := l.failed && f.own && f.isLanded() && f.err != nil
		for _, older := range kept {
			waits = waits || older.producer == f.producer && !older.isLanded()
		}
		if waits || !f.isLanded() {
			kept = append(kept, f)
		}
	}
	clear(l.flying[len(kept):])
	l.flying = kept
}

// tell gives everyone in a flight that is over its part of the outcome.
func (l *lane) tell(f *flight) {
	f.free()
	if f.err == nil {
		l.s.metrics.batches.Inc()
		l.s.metrics.coalesced.Add(float64(len(f.group) - 1))
	}
	next := f.result.BaseOffset
	for _, e := range f.group {
		own := f.result
		own.BaseOffset, next = next, next+int64(e.count)
		own.Duplicate = own.Duplicate && !f.own // of our own tries nobody need know
		if f.err != nil {
			own = storageclient.AppendResult{}
		}
		l.finish(e, own, f.err)
	}
}
