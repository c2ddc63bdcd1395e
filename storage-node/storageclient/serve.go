package storageclient

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/transport"
)

// Serve registers s as StorageService: the far end of Remote. Append and Fetch
// pass their batches without a copy by the codec; on the wire they are the
// unary calls of the contract, so a generated stub can call them.
func Serve(r grpc.ServiceRegistrar, s Storage) {
	desc := storagev1.StorageService_ServiceDesc
	desc.Methods = nil
	for _, m := range storagev1.StorageService_ServiceDesc.Methods {
		if m.MethodName != "Append" && m.MethodName != "Fetch" {
			desc.Methods = append(desc.Methods, m)
		}
	}
	// As streams of one message each way, because a unary handler is not told
	// when its answer was written and its buffers may be given back.
	desc.Streams = []grpc.StreamDesc{
		{StreamName: "Append", Handler: serveAppend},
		{StreamName: "Fetch", Handler: serveFetch},
		replicateStream,
	}
	r.RegisterService(&desc, &server{storage: s})
}

type server struct {
	storagev1.UnimplementedStorageServiceServer
	storage Storage
}

func serveAppend(srv any, stream grpc.ServerStream) error {
	head := new(storagev1.AppendRequest)
	frame := transport.NewFrame(head, bodyField)
	defer frame.Free()
	if err := stream.RecvMsg(frame); err != nil {
		return err
	}
	req, err := appendFromWire(head, frame.Bytes())
	if err != nil {
		return err
	}
	resp, err := srv.(*server).storage.Append(stream.Context(), req)
	if err != nil {
		return err
	}
	return stream.SendMsg(appendedToWire(resp))
}

func serveFetch(srv any, stream grpc.ServerStream) error {
	head := new(storagev1.FetchRequest)
	if err := stream.RecvMsg(head); err != nil {
		return err
	}
	req, err := fetchFromWire(head)
	if err != nil {
		return err
	}
	resp, err := srv.(*server).storage.Fetch(stream.Context(), req)
	if err != nil {
		return err
	}
	frame := transport.NewFrameOf(fetchedToWire(resp), bodyField, share(resp))
	defer frame.Free()
	return stream.SendMsg(frame)
}

// share makes the response's bytes a body that releases the response once the
// transport has written all of it.
func share(resp *FetchResponse) (body mem.BufferSlice) {
	var users atomic.Int32
	done := func() {
		if users.Add(-1) == 0 {
			resp.Release()
		}
	}
	users.Store(1)
	defer done()
	for i := range resp.Results {
		if b := resp.Results[i].Batches; len(b) > 0 {
			users.Add(1)
			body = append(body, transport.Lend(b, done)...)
		}
	}
	return body
}

func (s *server) ListOffsets(ctx context.Context, w *storagev1.ListOffsetsRequest) (*storagev1.ListOffsetsResponse, error) {
	req, err := listFromWire(w)
	if err != nil {
		return nil, err
	}
	resp, err := s.storage.ListOffsets(ctx, req)
	if err != nil {
		return nil, err
	}
	return listedToWire(resp), nil
}

func (s *server) DeleteRecords(ctx context.Context, w *storagev1.DeleteRecordsRequest) (*storagev1.DeleteRecordsResponse, error) {
	req, err := deleteFromWire(w)
	if err != nil {
		return nil, err
	}
	resp, err := s.storage.DeleteRecords(ctx, req)
	if err != nil {
		return nil, err
	}
	return deletedToWire(resp), nil
}

func (s *server) DescribeReplicas(ctx context.Context, w *storagev1.DescribeReplicasRequest) (*storagev1.DescribeReplicasResponse, error) {
	topics, err := describeFromWire(w)
	if err != nil {
		return nil, err
	}
	replicas, err := s.storage.DescribeReplicas(ctx, topics)
	if err != nil {
		return nil, err
	}
	return describedToWire(replicas), nil
}

func (s *server) OffsetsForEpoch(ctx context.Context, w *storagev1.OffsetsForEpochRequest) (*storagev1.OffsetsForEpochResponse, error) {
	req, err := epochsFromWire(w)
	if err != nil {
		return nil, err
	}
	resp, err := s.storage.OffsetsForEpoch(ctx, req)
	if err != nil {
		return nil, err
	}
	return epochEndsToWire(resp), nil
}

func (s *server) WriteMarkers(ctx context.Context, w *storagev1.WriteMarkersRequest) (*storagev1.WriteMarkersResponse, error) {
	req, err := markersFromWire(w)
	if err != nil {
		return nil, err
	}
	resp, err := s.storage.WriteMarkers(ctx, req)
	if err != nil {
		return nil, err
	}
	return markedToWire(resp), nil
}

func (s *server) DescribeProducers(ctx context.Context, w *storagev1.DescribeProducersRequest) (*storagev1.DescribeProducersResponse, error) {
	partitions, err := markerPartitionsFromWire(w.Partitions)
	if err != nil {
		return nil, err
	}
	known, err := s.storage.DescribeProducers(ctx, partitions)
	if err != nil {
		return nil, err
	}
	return producersToWire(known), nil
}
