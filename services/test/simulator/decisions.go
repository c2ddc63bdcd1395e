package simulator

import (
	"slices"

	"moldau.dev/coordinator/txn"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/commitlog"
)

// verdict is what became of something.
type verdict int8

const (
	undecided verdict = iota
	commits
	aborts
)

func (v verdict) String() string { return [...]string{"nothing", "commit", "abort"}[v] }

// attempt is one transaction, as the client that began it knows it, and what the
// markers that are committed say of it. Its values are in no other.
type attempt struct {
	id      string
	who     txn.Identity
	version int8
	asked   verdict // what the client asked for
	told    verdict // what it was told has happened
	outcome verdict // what the first marker said
}

// begin is a client's new transaction.
func (w *World) begin(id string, who txn.Identity, version int8) *attempt {
	return &attempt{id: id, who: who, version: version}
}

// value makes one that nobody has, for an attempt.
func (w *World) value(t *attempt) int64 {
	w.values++
	w.attempts[w.values] = t
	return w.values
}

// decide sees each record of a partition as it is committed, and holds
// transactions against it (invariants 22 and 24).
func (w *World) decide(n int, offset int64, f fact) {
	p := w.parts[n]
	p.verdict = append(p.verdict, commits)
	switch f.kind {
	case transactional:
		w.inTransaction(n, offset, f)
	case committed, aborted:
		how := commits
		if f.kind == aborted {
			how = aborts
		}
		pid := f.producer.ProducerID
		for _, at := range p.open[pid] {
			t := w.attempts[p.facts[at].value]
			w.ended(t, how, n, offset)
			p.verdict[at] = how
		}
		delete(p.open, pid)
		p.ends[pid] = max(p.ends[pid], f.producer.Epoch)
	}
}

// inTransaction sees a record of a transaction.
func (w *World) inTransaction(n int, offset int64, f fact) {
	p, t := w.parts[n], w.attempts[f.value]
	p.verdict[offset] = undecided
	switch end, ended := p.ends[f.producer.ProducerID]; {
	case t == nil || t.who != f.producer:
		w.fail("partition %d, offset %d: %v was sent by nobody, or by %v (invariant 2)", n, offset, f, t)
	case t.outcome == commits:
		w.fail("partition %d, offset %d: a record of transaction %v of %q comes after it was committed (invariants 22, 24)", n, offset, t.who, t.id)
	case ended && f.producer.Epoch < end:
		w.fail("partition %d, offset %d: a record of producer %v, fenced by a marker of epoch %d (invariant 24)", n, offset, f.producer, end)
	}
	p.open[f.producer.ProducerID] = append(p.open[f.producer.ProducerID], offset)
}

// ended sees a marker of a transaction: all of them say the same, and what its
// client asked for or was told (invariants 22 and 24).
func (w *World) ended(t *attempt, how verdict, n int, offset int64) {
	switch {
	case t.outcome != undecided && t.outcome != how:
		w.fail("partition %d, offset %d: transaction %v of %q ends with %v here, with %v elsewhere (invariant 22)", n, offset, t.who, t.id, how, t.outcome)
	case how == commits && t.asked != commits:
		w.fail("partition %d, offset %d: transaction %v of %q commits, its client asked for %v (invariant 24)", n, offset, t.who, t.id, t.asked)
	case t.told != undecided && t.told != how:
		w.fail("partition %d, offset %d: transaction %v of %q ends with %v, its client was told of %v (invariant 24)", n, offset, t.who, t.id, how, t.told)
	}
	if t.outcome == undecided {
		t.outcome = how
		w.note("decided", int(t.who.ProducerID), int(t.who.Epoch), int(how))
	}
}

// toldOf is the answer that a client gets about its transaction's end.
func (w *World) toldOf(t *attempt, how verdict) {
	if t.outcome != undecided && t.outcome != how {
		w.fail("transaction %v of %q has ended with %v, its client is told of %v (invariant 24)", t.who, t.id, t.outcome, how)
	}
	t.told = how
}

// undecidedFrom is the first offset of a partition that no marker decides, by
// what is committed.
func (p *part) undecidedFrom() int64 {
	first := int64(len(p.facts))
	for _, offsets := range p.open {
		first = min(first, offsets[0])
	}
	return first
}

// checkStable holds a last stable offset against what is decided (T12).
func (w *World) checkStable(n int, stable int64) {
	if first := w.parts[n].undecidedFrom(); stable > first {
		w.fail("partition %d: the last stable offset is %d, nothing decides offset %d (invariant 23)", n, stable, first)
	}
}

// readCommitted is what a reader of what is committed was given from an offset
// on: it sees all of a transaction that committed and nothing of another
// (invariants 22 and 23). It returns the next offset.
func (w *World) readCommitted(n int, from int64, batches []byte, gone []commitlog.Aborted) (next int64) {
	p, left := w.parts[n], slices.Clone(gone)
	aborting := map[int64]bool{}
	for len(batches) > 0 {
		batch, rest, h, err := record.Next(batches)
		if err != nil {
			w.fail("partition %d: read at %d: %v", n, from, err)
		}
		for len(left) > 0 && left[0].First <= h.LastOffset() {
			aborting[left[0].ProducerID] = true
			left = left[1:]
		}
		hidden := h.Control() || h.Transactional() && aborting[h.ProducerID]
		if h.Control() {
			delete(aborting, h.ProducerID)
		}
		err = record.ForEach(batch, record.DefaultLimits(), func(x *record.Record) error {
			if x.Offset < from {
				return nil
			}
			if x.Offset != from || x.Offset >= int64(len(p.facts)) || p.facts[x.Offset] != factOf(batch, &h, x) {
				w.fail("partition %d: %v was read at offset %d, after %d (invariants 2, 8)", n, factOf(batch, &h, x), x.Offset, from)
			}
			if !h.Control() && hidden != (p.verdict[x.Offset] == aborts) || p.verdict[x.Offset] == undecided {
				w.fail("partition %d: offset %d is hidden from a committed read: %v; it has come to %v (invariants 22, 23)", n, x.Offset, hidden, p.verdict[x.Offset])
			}
			from++
			return nil
		})
		if err != nil {
			w.fail("partition %d: read at %d: %v", n, from, err)
		}
		batches = rest
	}
	return from
}

// listedStable is an answer to the question for the last stable offset
// (invariant 8).
func (w *World) listedStable(n int, offset, least int64) {
	p := w.parts[n]
	if offset < least {
		w.fail("partition %d: the last stable offset is %d, earlier it was %d (invariant 8)", n, offset, least)
	}
	w.checkStable(n, offset)
	p.stable = max(p.stable, offset)
}
