package storageclient

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// Traced returns a node of this process with a span for each call, so that a
// trace looks the same whether a call crosses the network or not: the spans
// are named as those of a listener. Without tp it returns s.
func Traced(s Storage, tp trace.TracerProvider, nodeID int32) Storage {
	if tp == nil {
		return s
	}
	return &traced{next: s, tracer: tp.Tracer("moldau.dev/storage-node/storageclient"), node: attribute.Int("moldau.node", int(nodeID))}
}

type traced struct {
	next   Storage
	tracer trace.Tracer
	node   attribute.KeyValue
}

// call makes one call in a span; method is /package.Service/Method.
func (t *traced) call(ctx context.Context, method string, partitions int, do func(context.Context) error) {
	ctx, span := t.tracer.Start(ctx, method[1:], trace.WithSpanKind(trace.SpanKindInternal),
		trace.WithAttributes(t.node, attribute.Int("moldau.partitions", partitions)))
	defer span.End()
	if err := do(ctx); err != nil {
		span.SetStatus(codes.Error, string(errcode.ReasonOf(err)))
	}
}

func (t *traced) Append(ctx context.Context, req *AppendRequest) (resp *AppendResponse, err error) {
	t.call(ctx, storagev1.StorageService_Append_FullMethodName, len(req.Partitions), func(ctx context.Context) error {
		resp, err = t.next.Append(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) Fetch(ctx context.Context, req *FetchRequest) (resp *FetchResponse, err error) {
	t.call(ctx, storagev1.StorageService_Fetch_FullMethodName, len(req.Partitions), func(ctx context.Context) error {
		resp, err = t.next.Fetch(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) ListOffsets(ctx context.Context, req *ListOffsetsRequest) (resp *ListOffsetsResponse, err error) {
	t.call(ctx, storagev1.StorageService_ListOffsets_FullMethodName, len(req.Partitions), func(ctx context.Context) error {
		resp, err = t.next.ListOffsets(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) DeleteRecords(ctx context.Context, req *DeleteRecordsRequest) (resp *DeleteRecordsResponse, err error) {
	t.call(ctx, storagev1.StorageService_DeleteRecords_FullMethodName, len(req.Partitions), func(ctx context.Context) error {
		resp, err = t.next.DeleteRecords(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) DescribeReplicas(ctx context.Context, topics []topicid.ID) (states []ReplicaState, err error) {
	t.call(ctx, storagev1.StorageService_DescribeReplicas_FullMethodName, 0, func(ctx context.Context) error {
		states, err = t.next.DescribeReplicas(ctx, topics)
		return err
	})
	return states, err
}

func (t *traced) OffsetsForEpoch(ctx context.Context, req *OffsetsForEpochRequest) (resp *OffsetsForEpochResponse, err error) {
	t.call(ctx, storagev1.StorageService_OffsetsForEpoch_FullMethodName, len(req.Partitions), func(ctx context.Context) error {
		resp, err = t.next.OffsetsForEpoch(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) WriteMarkers(ctx context.Context, req *WriteMarkersRequest) (resp *WriteMarkersResponse, err error) {
	t.call(ctx, storagev1.StorageService_WriteMarkers_FullMethodName, req.partitions(), func(ctx context.Context) error {
		resp, err = t.next.WriteMarkers(ctx, req)
		return err
	})
	return resp, err
}

func (t *traced) DescribeProducers(ctx context.Context, partitions []PartitionID) (known []PartitionProducers, err error) {
	t.call(ctx, storagev1.StorageService_DescribeProducers_FullMethodName, len(partitions), func(ctx context.Context) error {
		known, err = t.next.DescribeProducers(ctx, partitions)
		return err
	})
	return known, err
}
