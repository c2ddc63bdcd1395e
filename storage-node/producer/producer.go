// Package producer decides about idempotent and transactional producers for
// one partition: which batch is next, which was appended before, which comes
// from a fenced incarnation, which must first be verified with a transaction's
// coordinator, and up to where all transactions are decided. Above it, the
// partition asks before it appends and tells after; below it there are only
// batches.
//
// It is pure: no clock, no I/O. Invariant 27: the state is what replaying the
// log gives, so a snapshot only saves replay. Guards are no part of it: they
// live in the leader's memory and die with it (T7).
package producer

import (
	"cmp"
	"math"
	"slices"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// remembered is how many batches of one producer are known again when they are
// sent again: the most that Kafka's clients keep in flight (KIP-98, T14).
const remembered = 5

// none marks an offset, sequence, epoch or time that is not there.
const none = -1

// State is all producers of one partition. It is not safe for concurrent use,
// but for Undecided.
type State struct {
	producers map[int64]*entry
	limit     int
	guards    guards
	undecided Undecided
}

// entry is one producer.
type entry struct {
	epoch int16
	// touchedMs is when it last appended, by the clock of the node rather than
	// of the records, which may be stamped with any time.
	touchedMs int64
	// coordinatorEpoch is that of its last marker, or -1.
	coordinatorEpoch int64
	// txnStart is the first offset of its open transaction, or -1.
	txnStart int64
	// batches are its last, oldest first; all of this epoch. A producer of which
	// only a marker is known has none.
	batches [remembered]batch
	count   int8
}

// batch is one appended batch. firstSeq and lastSeq are inclusive and may wrap.
type batch struct {
	firstSeq, lastSeq int32
	baseOffset        int64
	appendTimeMs      int64 // -1 where the batch kept its own timestamps
}

// New returns a state without producers that keeps at most limit of them;
// those silent for longest are forgotten first. Its guards count up from
// firstGuard, at least 1, which must lie far from that of any other life of any
// leader: a guard that another one gave is then told from one that has died.
func New(limit int, firstGuard int64) *State {
	return &State{producers: make(map[int64]*entry), limit: max(limit, 1), guards: newGuards(firstGuard)}
}

// Len is the number of producers.
func (s *State) Len() int { return len(s.producers) }

// Has tells whether a producer is known.
func (s *State) Has(producerID int64) bool { return s.producers[producerID] != nil }

// Undecided is where the state's transactions that are not decided begin.
func (s *State) Undecided() *Undecided { return &s.undecided }

// Request is what the caller says about a batch, and when.
type Request struct {
	// Guard that a verdict gave, confirmed since by the coordinator; 0 is none.
	Guard int64
	// LeaderEpoch in which the batch would be appended: guards of another one
	// have died.
	LeaderEpoch int32
	// TransactionVersion, 2 where the transaction is under KIP-890 part 2.
	TransactionVersion int32
	// NowMs is the node's clock.
	NowMs int64
}

// Verdict says about a batch that is not refused what is to become of it: it is
// appended, unless one of the fields is set.
type Verdict struct {
	// Duplicate, unless nil, is where the batch is already.
	Duplicate *Duplicate
	// VerifyGuard, unless 0, says that the coordinator must first confirm that the
	// partition is part of the transaction (T7).
	VerifyGuard int64
}

// Duplicate tells where a batch that is sent again already is.
type Duplicate struct {
	BaseOffset   int64
	LastOffset   int64
	AppendTimeMs int64 // -1 where the batch kept its own timestamps
}

// Check decides about a batch that is about to be appended. The error is an
// *errcode.Error: the batch may not be appended. A batch without producer
// always passes. The order of the checks is Kafka's: known again, epoch, guard,
// sequence, transaction (KAFKA-19690).
func (s *State) Check(h *record.Header, req Request) (Verdict, error) {
	if !h.Idempotent() {
		return Verdict{}, nil
	}
	e := s.producers[h.ProducerID]
	if e != nil && h.ProducerEpoch < e.epoch {
		return Verdict{}, fenced(h, e.epoch)
	}
	if e != nil && h.ProducerEpoch == e.epoch {
		if d := e.find(h); d != nil {
			return Verdict{Duplicate: d}, nil
		}
	}
	if h.Transactional() {
		if guard, err := s.checkTransaction(e, h, req); guard != 0 || err != nil {
			return Verdict{VerifyGuard: guard}, err
		}
	}
	if err := e.checkSequence(h, req); err != nil {
		return Verdict{}, err
	}
	if !h.Transactional() && e != nil && e.txnStart != none {
		return Verdict{}, errcode.New(errcode.InvalidTransactionState,
			"producer %d has a transaction open since offset %d, the batch is no part of one", h.ProducerID, e.txnStart) // T14
	}
	return Verdict{}, nil
}

// checkTransaction decides whether a transactional batch may go into its
// transaction. In an open one it may; to open one it needs a guard. One that an
// earlier epoch left open is about to be ended by a marker (KAFKA-18575).
func (s *State) checkTransaction(e *entry, h *record.Header, req Request) (guard int64, err error) {
	if e == nil || e.txnStart == none {
		return s.guards.check(h, req)
	}
	if h.ProducerEpoch > e.epoch {
		return 0, errcode.New(errcode.ConcurrentTransactions,
			"the transaction of producer %d, epoch %d, still completes here", h.ProducerID, e.epoch)
	}
	return 0, nil
}

// fenced is the error for a batch or marker of an epoch before the one that is
// known.
func fenced(h *record.Header, known int16) error {
	return errcode.New(errcode.InvalidProducerEpoch, "producer %d has epoch %d, the batch says %d",
		h.ProducerID, known, h.ProducerEpoch).With("producer_epoch", known)
}

// checkSequence holds the batch's first sequence against the one that is next.
// Of a producer that is not known, e being nil, any is taken (KIP-360), but
// under transaction version 2, where each transaction begins at 0 (T15).
func (e *entry) checkSequence(h *record.Header, req Request) error {
	switch {
	case e == nil && h.Transactional() && req.TransactionVersion >= 2:
		return want(h, 0)
	case e == nil:
		return nil
	case h.ProducerEpoch > e.epoch:
		return want(h, 0)
	}
	return want(h, next(e.lastSeq()))
}

// want returns an error unless h starts with sequence seq.
func want(h *record.Header, seq int32) error {
	if h.BaseSequence == seq {
		return nil
	}
	return errcode.New(errcode.OutOfOrderSequence, "producer %d epoch %d: sequence %d where %d is next",
		h.ProducerID, h.ProducerEpoch, h.BaseSequence, seq).With("expected_sequence", seq)
}

// find returns where h is, if it is one of the last batches.
func (e *entry) find(h *record.Header) *Duplicate {
	for i := range e.count {
		b := &e.batches[i]
		if b.firstSeq == h.BaseSequence && b.lastSeq == h.LastSequence() {
			return &Duplicate{
				BaseOffset:   b.baseOffset,
				LastOffset:   b.baseOffset + int64(h.LastOffsetDelta),
				AppendTimeMs: b.appendTimeMs,
			}
		}
	}
	return nil
}

func (e *entry) lastSeq() int32 {
	if e.count == 0 {
		return none
	}
	return e.batches[e.count-1].lastSeq
}

// next is the sequence after seq; it wraps from 2^31-1 to 0.
func next(seq int32) int32 {
	if seq == math.MaxInt32 {
		return 0
	}
	return seq + 1
}

// Expire forgets the producers that have appended nothing since beforeMs and
// have no open transaction, and the guards that are older.
func (s *State) Expire(beforeMs int64) {
	for pid, e := range s.producers {
		if e.touchedMs < beforeMs && e.txnStart == none {
			delete(s.producers, pid)
		}
	}
	s.guards.expire(beforeMs)
}

// makeRoom forgets the eighth that was silent for longest where the limit is
// reached, so that the search is paid for by many producers to come.
func (s *State) makeRoom() {
	if len(s.producers) < s.limit {
		return
	}
	all := make([]silent, 0, len(s.producers))
	for pid, e := range s.producers {
		if e.txnStart == none {
			all = append(all, silent{pid, e.touchedMs})
		}
	}
	for _, pid := range longest(all, s.limit/8+1) {
		delete(s.producers, pid)
	}
}

// silent is a producer and since when nothing was heard of it.
type silent struct{ pid, sinceMs int64 }

// longest returns the n producers that were silent for longest.
func longest(all []silent, n int) (pids []int64) {
	slices.SortFunc(all, func(a, b silent) int {
		return cmp.Or(cmp.Compare(a.sinceMs, b.sinceMs), cmp.Compare(a.pid, b.pid))
	})
	for _, p := range all[:min(len(all), n)] {
		pids = append(pids, p.pid)
	}
	return pids
}
