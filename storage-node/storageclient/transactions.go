package storageclient

// OffsetsForEpochRequest asks where leader epochs end.
type OffsetsForEpochRequest struct{ Partitions []OffsetsForEpochPartition }

// OffsetsForEpochPartition asks where one epoch ends.
type OffsetsForEpochPartition struct {
	PartitionID
	LeaderEpoch int32 // that the caller knows, or -1
	Epoch       int32 // asked for
}

// OffsetsForEpochResponse has a result for each partition asked.
type OffsetsForEpochResponse struct{ Results []OffsetsForEpochResult }

// OffsetsForEpochResult is the largest epoch up to the one asked for and its
// end, or -1s where there is none.
type OffsetsForEpochResult struct {
	Err error
	End EpochEnd
}

// WriteMarkersRequest ends transactions.
type WriteMarkersRequest struct{ Markers []Marker }

// Marker ends one transaction in some partitions.
type Marker struct {
	ProducerID int64
	// ProducerEpoch that the marker carries: under transaction version 2 one more
	// than the transaction's (KIP-1228).
	ProducerEpoch int16
	// CoordinatorEpoch of the shard that decided, 0 to 2^31-1; a lower one than
	// was seen for the producer is refused.
	CoordinatorEpoch int64
	// TransactionVersion is the protocol that the transaction was under: 1 or 2.
	TransactionVersion int32
	Commit             bool // else abort
	Partitions         []PartitionID
}

// WriteMarkersResponse has a result for each marker.
type WriteMarkersResponse struct{ Results []MarkerResult }

// MarkerResult has an error, or nil, for each partition of the marker.
type MarkerResult struct{ Errs []error }

func (r *WriteMarkersRequest) partitions() (n int) {
	for i := range r.Markers {
		n += len(r.Markers[i].Partitions)
	}
	return n
}

func (r *WriteMarkersResponse) partitions() (n int) {
	for i := range r.Results {
		n += len(r.Results[i].Errs)
	}
	return n
}

// PartitionProducers are the producers that one partition knows.
type PartitionProducers struct {
	Err       error
	Producers []ProducerState // by id
}

// ProducerState is one producer of one partition.
type ProducerState struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32 // of its last record, or -1
	LastTimestampMs  int64 // when it last appended
	CoordinatorEpoch int64 // that last wrote a marker, or -1
	TransactionStart int64 // first offset of its open transaction, or -1
}
