package producer

import "moldau.dev/services/record"

// Begin tells Undecided of a batch that is about to be appended, its offsets
// set, if it opens a transaction: before anybody can read the batch, nobody may
// take it for decided. Cancel takes it back if the append fails.
func (s *State) Begin(h *record.Header) {
	if h.Transactional() && !h.Control() && !s.open(h.ProducerID) {
		s.undecided.begin(h.BaseOffset)
	}
}

// Cancel takes a Begin back.
func (s *State) Cancel(h *record.Header) {
	if h.Transactional() && !h.Control() && !s.open(h.ProducerID) {
		s.undecided.cancel(h.BaseOffset)
	}
}

func (s *State) open(pid int64) bool {
	e := s.producers[pid]
	return e != nil && e.txnStart != none
}

// Apply takes note of a batch that is in the log, with its offsets set. h is
// its header; the time is the node's. It never refuses: the log is the truth.
// Control batches that are no transaction's marker change nothing.
func (s *State) Apply(batch []byte, h *record.Header, nowMs int64) {
	if !h.Idempotent() {
		return
	}
	if h.Control() {
		if m, err := record.ParseControl(batch); err == nil {
			s.applyMarker(h, int64(m.CoordinatorEpoch), nowMs)
		}
		return
	}
	e := s.entry(h, nowMs)
	if h.Transactional() && e.txnStart == none {
		e.txnStart = h.BaseOffset
		s.undecided.begin(h.BaseOffset)
	}
	e.push(batchOf(h))
}

func (s *State) applyMarker(h *record.Header, coordinatorEpoch, nowMs int64) {
	e := s.entry(h, nowMs)
	e.coordinatorEpoch = coordinatorEpoch
	if e.txnStart != none {
		s.undecided.end(e.txnStart, h.BaseOffset)
		e.txnStart = none
	}
}

// entry returns the producer of a batch that is in the log, with its epoch.
// Whatever was under way with its coordinator is over.
func (s *State) entry(h *record.Header, nowMs int64) *entry {
	s.guards.kill(h.ProducerID)
	e := s.producers[h.ProducerID]
	if e == nil {
		s.makeRoom()
		e = &entry{epoch: h.ProducerEpoch, coordinatorEpoch: none, txnStart: none}
		s.producers[h.ProducerID] = e
	}
	if h.ProducerEpoch != e.epoch {
		e.epoch, e.count = h.ProducerEpoch, 0
	}
	e.touchedMs = nowMs
	return e
}

func batchOf(h *record.Header) batch {
	b := batch{h.BaseSequence, h.LastSequence(), h.BaseOffset, none}
	if h.LogAppendTime() {
		b.appendTimeMs = h.MaxTimestamp
	}
	return b
}

func (e *entry) push(b batch) {
	if e.count == remembered {
		copy(e.batches[:], e.batches[1:])
		e.count--
	}
	e.batches[e.count] = b
	e.count++
}
