package producer

import (
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// CheckMarker decides about a marker that a coordinator wants to write: it is
// appended, or write is false because it has been already, or the error, an
// *errcode.Error, says why it may not be. version is the transaction's.
//
// T9: a coordinator that is not the newest is fenced. Under version 2 a marker
// carries an epoch that nothing here has yet (KAFKA-19446); one that is known
// and has no transaction open was written before (KAFKA-19999). Under version 1
// the transaction's own epoch ends it, and a marker without a transaction is
// written for the sake of the coordinator's epoch: a delayed marker of the
// coordinator before must not end the producer's next transaction.
func (s *State) CheckMarker(m *record.Control, version int32) (write bool, err error) {
	e := s.producers[m.ProducerID]
	if e == nil {
		return true, nil
	}
	if int64(m.CoordinatorEpoch) < e.coordinatorEpoch {
		return false, errcode.New(errcode.CoordinatorFenced, "coordinator epoch %d after %d for producer %d",
			m.CoordinatorEpoch, e.coordinatorEpoch, m.ProducerID).With("coordinator_epoch", e.coordinatorEpoch)
	}
	open, strict := e.txnStart != none, version >= 2
	switch {
	case m.ProducerEpoch > e.epoch:
		return true, nil
	case m.ProducerEpoch < e.epoch, open && strict:
		return false, errcode.New(errcode.InvalidProducerEpoch, "producer %d has epoch %d, the marker says %d",
			m.ProducerID, e.epoch, m.ProducerEpoch).With("producer_epoch", e.epoch)
	case open:
		return true, nil
	}
	return !strict && int64(m.CoordinatorEpoch) > e.coordinatorEpoch, nil
}

// Ended takes note that the coordinator ended a producer's transaction and that
// nothing of it is here to be ended: verifications under way are void (T7).
func (s *State) Ended(pid int64) { s.guards.kill(pid) }
