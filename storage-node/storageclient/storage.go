// Package storageclient is the door to storage nodes: what gateways and
// coordinators (above) may ask of one node (below). One process with both
// takes the local adapter, a direct call of the same typed request; separate
// processes take the gRPC adapter. A batch crosses either as opaque bytes.
package storageclient

import (
	"context"

	"moldau.dev/services/topicid"
)

// Storage is one storage node. Every method answers by partition, in the order
// asked; the error of a partition is an *errcode.Error in its result, and the
// method's own error says that the call as a whole failed (for Append: with
// unknown outcome). Safe for concurrent use.
type Storage interface {
	// Append appends one batch to each named partition, each named once.
	// The batches are lent for the call: the node patches base offset and
	// leader epoch in place and keeps no reference after it returned.
	Append(ctx context.Context, req *AppendRequest) (*AppendResponse, error)
	// Fetch reads whole batches, waiting up to MaxWaitMs for MinBytes. The
	// response's bytes are valid until its Release.
	Fetch(ctx context.Context, req *FetchRequest) (*FetchResponse, error)
	// ListOffsets looks offsets up.
	ListOffsets(ctx context.Context, req *ListOffsetsRequest) (*ListOffsetsResponse, error)
	// DeleteRecords moves partitions' starts forward, durably.
	DeleteRecords(ctx context.Context, req *DeleteRecordsRequest) (*DeleteRecordsResponse, error)
	// DescribeReplicas tells of the node's replicas.
	DescribeReplicas(ctx context.Context, topics []topicid.ID) ([]ReplicaState, error)
	// OffsetsForEpoch tells where leader epochs end (KIP-101, KIP-320).
	OffsetsForEpoch(ctx context.Context, req *OffsetsForEpochRequest) (*OffsetsForEpochResponse, error)
	// WriteMarkers ends transactions in partitions. Where a partition has no
	// error its marker is below the high watermark (T9).
	WriteMarkers(ctx context.Context, req *WriteMarkersRequest) (*WriteMarkersResponse, error)
	// DescribeProducers tells of the producers that partitions know; any replica
	// answers.
	DescribeProducers(ctx context.Context, partitions []PartitionID) ([]PartitionProducers, error)
}

// PartitionID names one partition of one incarnation of a topic.
type PartitionID struct {
	Topic topicid.ID
	Index int32
}

// Acks says when an Append is answered.
type Acks int8

const (
	// AcksAll waits for the high watermark to pass the batch.
	AcksAll Acks = iota
	// AcksLeader waits for the leader's own append.
	AcksLeader
	// AcksNone waits for nothing; the append happens all the same.
	AcksNone
)

// AppendRequest carries one batch for each of several partitions.
type AppendRequest struct {
	Partitions []AppendPartition
	Acks       Acks
	// Ordered, unless nil, is called at most once, by a node of this process, when
	// all batches have their place in the log and one is waited for: what is
	// appended from then on comes after them. Not called where one was refused.
	Ordered func()
}

// AppendPartition is one batch for one partition.
type AppendPartition struct {
	PartitionID
	// LeaderEpoch that the caller knows, or -1.
	LeaderEpoch int32
	// Batch is one whole Kafka v2 record batch.
	Batch []byte
	// ExpectedOffset, unless nil, must be the log's end.
	ExpectedOffset *int64
	// OwnerEpoch is the epoch of the shard whose journal the partition is: the
	// append is refused as COORDINATOR_FENCED where the leader has seen a higher
	// one (T1). 0 is none, and refused where the leader has seen any.
	OwnerEpoch int64
	// Guard is the VerifyGuard of an earlier answer, confirmed by the
	// transaction's coordinator (T7); 0 is none. It is good for the leader, and the
	// leader epoch, that gave it: to another one it says nothing, and the answer is
	// a new VerifyGuard. One that has died, by a marker or a later epoch of the
	// producer, is refused as INVALID_TRANSACTION_STATE.
	Guard int64
	// TransactionVersion is 2 where the batch is of a transaction under KIP-890
	// part 2: of a producer that the partition does not know only sequence 0 is
	// taken then (T15).
	TransactionVersion int32
}

// AppendResponse has a result for each partition asked.
type AppendResponse struct{ Results []AppendResult }

// AppendResult tells where a batch is.
type AppendResult struct {
	Err             error
	BaseOffset      int64
	LogAppendTimeMs int64 // -1 where the batch kept its own timestamps
	LogStartOffset  int64 // also of a batch refused for what it holds, else -1
	LeaderEpoch     int32
	Duplicate       bool // appended before; offsets are those of the first time
	// VerifyGuard, unless 0, says that nothing was appended: the coordinator must
	// first add or verify the partition, and the append be repeated with this
	// guard (T7).
	VerifyGuard int64
}

// FetchRequest reads several partitions, in the order given.
type FetchRequest struct {
	Partitions    []FetchPartition
	MinBytes      int
	MaxBytes      int
	MaxWaitMs     int32
	ReadCommitted bool
	// Slices lets a node of this process answer with where batches lie in its
	// files, for sendfile, where there are many; not with ReadCommitted.
	Slices bool
}

// FetchPartition names one partition to read and where.
type FetchPartition struct {
	PartitionID
	LeaderEpoch int32 // that the caller knows, or -1
	Offset      int64
	MaxBytes    int
	// OwnerEpoch is the epoch of the shard whose journal is read: from now on a
	// lower one may not append (T1). 0 is none.
	OwnerEpoch int64
	// LastFetchedEpoch, unless nil, is the leader epoch of the caller's last
	// record before Offset: where the log has another one there, the answer is
	// Diverging (KIP-595).
	LastFetchedEpoch *int32
}

// FetchResponse has a result for each partition asked.
type FetchResponse struct {
	Results []FetchResult
	release func()
}

// NewFetchResponse returns a response whose Release calls release once.
func NewFetchResponse(results []FetchResult, release func()) *FetchResponse {
	return &FetchResponse{Results: results, release: release}
}

// Release gives the response's buffers back; its bytes are not to be used
// afterwards. A second call does nothing.
func (r *FetchResponse) Release() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// FetchResult is what was read of one partition.
type FetchResult struct {
	Err              error
	Batches          []byte    // whole batches
	Slice            FileSlice // where batches lie instead, if Slices were asked for
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	LeaderEpoch      int32
	// Aborted are the aborted transactions of a ReadCommitted read that have
	// records in Batches, by first offset.
	Aborted []AbortedTransaction
	// Diverging, unless nil, is where the caller's log and this one part; nothing
	// was read then.
	Diverging *EpochEnd
}

// Size is how many bytes of batches there are.
func (r *FetchResult) Size() int { return len(r.Batches) + int(r.Slice.Size) }

// FileSlice is whole batches in an open file of this process: Size bytes from
// Pos on. They stay there until the response is released. Size 0 is none.
type FileSlice struct {
	Fd        uintptr
	Pos, Size int64
}

// EpochEnd tells where a leader epoch ends.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64 // after its last record
}

// AbortedTransaction tells committed readers what to skip.
type AbortedTransaction struct {
	ProducerID  int64
	FirstOffset int64
}

// The timestamps that ListOffsets takes in place of a time.
const (
	Latest       int64 = -1
	Earliest     int64 = -2
	MaxTimestamp int64 = -3
)

// ListOffsetsRequest looks up one offset for each partition.
type ListOffsetsRequest struct {
	Partitions    []ListOffsetsPartition
	ReadCommitted bool
}

// ListOffsetsPartition asks for the first record stamped at or after Timestamp
// (ms), or for Latest, Earliest or MaxTimestamp.
type ListOffsetsPartition struct {
	PartitionID
	LeaderEpoch int32 // that the caller knows, or -1
	Timestamp   int64
}

// ListOffsetsResponse has a result for each partition asked.
type ListOffsetsResponse struct{ Results []ListOffsetsResult }

// ListOffsetsResult is an offset that was looked up, or -1s.
type ListOffsetsResult struct {
	Err         error
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

// DeleteRecordsRequest moves starts forward.
type DeleteRecordsRequest struct{ Partitions []DeleteRecordsPartition }

// DeleteRecordsPartition deletes what lies before BeforeOffset; -1 is the high
// watermark.
type DeleteRecordsPartition struct {
	PartitionID
	BeforeOffset int64
}

// DeleteRecordsResponse has a result for each partition asked.
type DeleteRecordsResponse struct{ Results []DeleteRecordsResult }

// DeleteRecordsResult tells the new start.
type DeleteRecordsResult struct {
	Err            error
	LogStartOffset int64
}

// ReplicaState tells of one replica on the node.
type ReplicaState struct {
	PartitionID
	SizeBytes        int64
	LogStartOffset   int64
	LastStableOffset int64
	HighWatermark    int64
	LogEndOffset     int64
	SegmentCount     int32
	Leads            bool
	Fault            string // why it is not served; empty where it is
}
