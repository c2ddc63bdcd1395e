package producer

import (
	"maps"
	"slices"
)

// Known is what a partition knows of one producer.
type Known struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // of its last record in this epoch, or -1
	TouchedMs        int64 // when it last appended, by the node's clock
	CoordinatorEpoch int64 // of the last marker, or -1
	TransactionStart int64 // first offset of its open transaction, or -1
}

// Describe returns all producers, by id.
func (s *State) Describe() []Known {
	known := make([]Known, 0, len(s.producers))
	for _, pid := range slices.Sorted(maps.Keys(s.producers)) {
		e := s.producers[pid]
		known = append(known, Known{
			ProducerID: pid, Epoch: e.epoch, LastSequence: e.lastSeq(), TouchedMs: e.touchedMs,
			CoordinatorEpoch: e.coordinatorEpoch, TransactionStart: e.txnStart,
		})
	}
	return known
}
