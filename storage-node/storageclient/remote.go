package storageclient

import (
	"context"

	"google.golang.org/grpc/mem"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
)

// bulkConnections to one node: beyond them a connection wins nothing.
const bulkConnections = 2

// maxAnswerBytes bounds a message of a node: Kafka's fetch.max.bytes with room
// for a batch that alone is larger.
const maxAnswerBytes = 128 << 20

// Remote is a storage node in another process.
type Remote struct {
	conns *transport.ConnPool
	stub  storagev1.StorageServiceClient
}

// Dial returns the node at target. It connects when first used.
func Dial(target string, opts transport.DialOptions) (*Remote, error) {
	if opts.MaxRecvBytes == 0 {
		opts.MaxRecvBytes = maxAnswerBytes
	}
	conns, err := transport.DialPool(target, bulkConnections, opts)
	if err != nil {
		return nil, err
	}
	return &Remote{conns: conns, stub: storagev1.NewStorageServiceClient(conns)}, nil
}

// Close closes the connections; calls under way fail.
func (r *Remote) Close() error { return r.conns.Close() }

// Append implements Storage. All of one partition's appends take one
// connection where a request names one partition, so they stay in order.
func (r *Remote) Append(ctx context.Context, req *AppendRequest) (*AppendResponse, error) {
	if len(req.Partitions) == 0 {
		return &AppendResponse{}, nil
	}
	head, size := appendToWire(req)
	frame := transport.NewFrameOf(head, bodyField, lend(req, size))
	defer frame.Free()
	answer := new(storagev1.AppendResponse)
	conn := r.conns.For(partitionKey(req.Partitions[0].PartitionID))
	if err := conn.Invoke(ctx, storagev1.StorageService_Append_FullMethodName, frame, answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(req.Partitions) {
		return nil, wrongCount(len(answer.Results), len(req.Partitions))
	}
	return appendedFromWire(answer), nil
}

// lend copies the batches: the caller has them back when Append returns, but
// after a cancelled call the transport may still be reading what it was given
// (rule G8).
func lend(req *AppendRequest, size int) mem.BufferSlice {
	pool := mem.DefaultBufferPool()
	buf := pool.Get(size)
	at := 0
	for i := range req.Partitions {
		at += copy((*buf)[at:], req.Partitions[i].Batch)
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}
}

func partitionKey(id PartitionID) uint64 {
	return uint64(id.Topic[14])<<8 + uint64(id.Topic[15]) + uint64(uint32(id.Index))
}

// Fetch implements Storage.
func (r *Remote) Fetch(ctx context.Context, req *FetchRequest) (*FetchResponse, error) {
	head := new(storagev1.FetchResponse)
	frame := transport.NewFrame(head, bodyField)
	if err := r.conns.Invoke(ctx, storagev1.StorageService_Fetch_FullMethodName, fetchToWire(req), frame); err != nil {
		frame.Free()
		return nil, err
	}
	results, err := fetchedFromWire(head, frame.Bytes())
	if err == nil && len(results) != len(req.Partitions) {
		err = wrongCount(len(results), len(req.Partitions))
	}
	if err != nil {
		frame.Free()
		return nil, err
	}
	return NewFetchResponse(results, frame.Free), nil
}

// ListOffsets implements Storage.
func (r *Remote) ListOffsets(ctx context.Context, req *ListOffsetsRequest) (*ListOffsetsResponse, error) {
	answer, err := r.stub.ListOffsets(ctx, listToWire(req))
	if err != nil {
		return nil, err
	}
	if len(answer.Results) != len(req.Partitions) {
		return nil, wrongCount(len(answer.Results), len(req.Partitions))
	}
	return listedFromWire(answer), nil
}

// DeleteRecords implements Storage.
func (r *Remote) DeleteRecords(ctx context.Context, req *DeleteRecordsRequest) (*DeleteRecordsResponse, error) {
	answer, err := r.stub.DeleteRecords(ctx, deleteToWire(req))
	if err != nil {
		return nil, err
	}
	if len(answer.Results) != len(req.Partitions) {
		return nil, wrongCount(len(answer.Results), len(req.Partitions))
	}
	return deletedFromWire(answer), nil
}

// DescribeReplicas implements Storage.
func (r *Remote) DescribeReplicas(ctx context.Context, topics []topicid.ID) ([]ReplicaState, error) {
	answer, err := r.stub.DescribeReplicas(ctx, describeToWire(topics))
	if err != nil {
		return nil, err
	}
	return describedFromWire(answer)
}

// OffsetsForEpoch implements Storage.
func (r *Remote) OffsetsForEpoch(ctx context.Context, req *OffsetsForEpochRequest) (*OffsetsForEpochResponse, error) {
	answer, err := r.stub.OffsetsForEpoch(ctx, epochsToWire(req))
	if err != nil {
		return nil, err
	}
	if len(answer.Results) != len(req.Partitions) {
		return nil, wrongCount(len(answer.Results), len(req.Partitions))
	}
	return epochEndsFromWire(answer), nil
}

// WriteMarkers implements Storage.
func (r *Remote) WriteMarkers(ctx context.Context, req *WriteMarkersRequest) (*WriteMarkersResponse, error) {
	answer, err := r.stub.WriteMarkers(ctx, markersToWire(req))
	if err != nil {
		return nil, err
	}
	resp := markedFromWire(answer)
	if got, want := resp.partitions(), req.partitions(); len(resp.Results) != len(req.Markers) || got != want {
		return nil, wrongCount(got, want)
	}
	return resp, nil
}

// DescribeProducers implements Storage.
func (r *Remote) DescribeProducers(ctx context.Context, partitions []PartitionID) ([]PartitionProducers, error) {
	answer, err := r.stub.DescribeProducers(ctx, &storagev1.DescribeProducersRequest{Partitions: markerPartitionsToWire(partitions)})
	if err != nil {
		return nil, err
	}
	if len(answer.Results) != len(partitions) {
		return nil, wrongCount(len(answer.Results), len(partitions))
	}
	return producersFromWire(answer), nil
}

func wrongCount(got, want int) error {
	return errcode.New(errcode.Internal, "the node answered for %d partitions, %d were asked", got, want)
}
