// Package producer decides about idempotent producers for one partition: which
// batch is next, which was appended before, which comes from a fenced
// incarnation. Above it, the partition asks before it appends and tells after;
// below it there are only batch headers.
//
// It is pure: no clock, no I/O. Invariant 27: the state is what replaying the
// log's headers gives, so a snapshot only saves replay.
package producer

import (
	"cmp"
	"math"
	"slices"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// remembered is how many batches of one producer are known again when they are
// sent again: the most that Kafka's clients keep in flight (KIP-98).
const remembered = 5

// none marks an offset, sequence or time that is not there.
const none = -1

// State is all producers of one partition. It is not safe for concurrent use.
type State struct {
	producers map[int64]*entry
	limit     int
}

// entry is one producer.
type entry struct {
	epoch int16
	// touchedMs is when it last appended, by the clock of the node rather than
	// of the records, which may be stamped with any time.
	touchedMs int64
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

// Duplicate tells where a batch that is sent again already is.
type Duplicate struct {
	BaseOffset   int64
	LastOffset   int64
	AppendTimeMs int64 // -1 where the batch kept its own timestamps
}

// New returns a state without producers that keeps at most limit of them;
// those silent for longest are forgotten first.
func New(limit int) *State {
	return &State{producers: make(map[int64]*entry), limit: max(limit, 1)}
}

// Len is the number of producers.
func (s *State) Len() int { return len(s.producers) }

// Check decides about a batch that is about to be appended. It returns a
// duplicate where the batch is in the log already, and an *errcode.Error where
// it may not be appended. A batch without producer always passes.
func (s *State) Check(h *record.Header) (*Duplicate, error) {
	if !h.Idempotent() {
		return nil, nil
	}
	e := s.producers[h.ProducerID]
	if e == nil {
		return nil, nil // expired or new: any first sequence is taken (KIP-360)
	}
	if h.ProducerEpoch < e.epoch {
		return nil, errcode.New(errcode.InvalidProducerEpoch, "producer %d has epoch %d, the batch says %d",
			h.ProducerID, e.epoch, h.ProducerEpoch).With("producer_epoch", e.epoch)
	}
	if h.ProducerEpoch > e.epoch {
		return nil, e.want(h, 0)
	}
	if d := e.find(h); d != nil {
		return d, nil
	}
	return nil, e.want(h, next(e.lastSeq()))
}

// want returns an error unless h starts with sequence seq.
func (e *entry) want(h *record.Header, seq int32) error {
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

// Apply takes note of a batch that is in the log, with its offsets set. The
// time is the node's. It never refuses: the log is the truth.
func (s *State) Apply(h *record.Header, nowMs int64) {
	if !h.Idempotent() {
		return
	}
	e := s.producers[h.ProducerID]
	if e == nil {
		s.makeRoom()
		e = &entry{epoch: h.ProducerEpoch, txnStart: none}
		s.producers[h.ProducerID] = e
	}
	if h.ProducerEpoch != e.epoch {
		e.epoch, e.count = h.ProducerEpoch, 0
	}
	e.touchedMs = nowMs
	if h.Control() {
		e.txnStart = none
		return
	}
	if h.Transactional() && e.txnStart == none {
		e.txnStart = h.BaseOffset
	}
	e.push(batch{h.BaseSequence, h.LastSequence(), h.BaseOffset, appendTime(h)})
}

func appendTime(h *record.Header) int64 {
	if h.LogAppendTime() {
		return h.MaxTimestamp
	}
	return none
}

func (e *entry) push(b batch) {
	if e.count == remembered {
		copy(e.batches[:], e.batches[1:])
		e.count--
	}
	e.batches[e.count] = b
	e.count++
}

// Expire forgets the producers that have appended nothing since beforeMs and
// have no open transaction.
func (s *State) Expire(beforeMs int64) {
	for pid, e := range s.producers {
		if e.touchedMs < beforeMs && e.txnStart == none {
			delete(s.producers, pid)
		}
	}
}

// makeRoom forgets the eighth that was silent for longest where the limit is
// reached, so that the search is paid for by many producers to come.
func (s *State) makeRoom() {
	if len(s.producers) < s.limit {
		return
	}
	type silent struct{ pid, touchedMs int64 }
	all := make([]silent, 0, len(s.producers))
	for pid, e := range s.producers {
		if e.txnStart == none {
			all = append(all, silent{pid, e.touchedMs})
		}
	}
	slices.SortFunc(all, func(a, b silent) int {
		return cmp.Or(cmp.Compare(a.touchedMs, b.touchedMs), cmp.Compare(a.pid, b.pid))
	})
	for _, p := range all[:min(len(all), s.limit/8+1)] {
		delete(s.producers, p.pid)
	}
}
