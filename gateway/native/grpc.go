package native

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// RegisterGRPC puts every service on a grpc-go server.
func (s *Server) RegisterGRPC(r grpc.ServiceRegistrar) {
	moldauv1.RegisterTopicServiceServer(r, s.TopicServer())
	moldauv1.RegisterProduceServiceServer(r, s.ProduceServer())
	moldauv1.RegisterReadServiceServer(r, readServer{Server: s})
	moldauv1.RegisterClusterServiceServer(r, s.ClusterServer())
	moldauv1.RegisterTransactionServiceServer(r, s.TransactionServer())
	moldauv1.RegisterOffsetServiceServer(r, s.OffsetServer())
	moldauv1.RegisterGroupServiceServer(r, s.GroupServer())
	moldauv1.RegisterNodeServiceServer(r, s.NodeServer())
	moldauv1.RegisterPlacementServiceServer(r, s.PlacementServer())
	moldauv1.RegisterConsumeServiceServer(r, consumeServer{Server: s})
}

// TopicServer is the server as grpc-go and the REST face want it.
func (s *Server) TopicServer() moldauv1.TopicServiceServer { return topicServer{Server: s} }

// ProduceServer is the server as grpc-go and the REST face want it.
func (s *Server) ProduceServer() moldauv1.ProduceServiceServer { return produceServer{Server: s} }

// ClusterServer is the server as grpc-go and the REST face want it.
func (s *Server) ClusterServer() moldauv1.ClusterServiceServer { return clusterServer{Server: s} }

// TransactionServer is the server as grpc-go and the REST face want it.
func (s *Server) TransactionServer() moldauv1.TransactionServiceServer {
	return transactionServer{Server: s}
}

// OffsetServer is the server as grpc-go and the REST face want it.
func (s *Server) OffsetServer() moldauv1.OffsetServiceServer { return offsetServer{Server: s} }

// GroupServer is the server as grpc-go and the REST face want it.
func (s *Server) GroupServer() moldauv1.GroupServiceServer { return groupServer{Server: s} }

// NodeServer is the server as grpc-go and the REST face want it.
func (s *Server) NodeServer() moldauv1.NodeServiceServer { return nodeServer{Server: s} }

// PlacementServer is the server as grpc-go and the REST face want it.
func (s *Server) PlacementServer() moldauv1.PlacementServiceServer { return placementServer{Server: s} }

type nodeServer struct {
	moldauv1.UnsafeNodeServiceServer
	*Server
}

type placementServer struct {
	moldauv1.UnsafePlacementServiceServer
	*Server
}

type groupServer struct {
	moldauv1.UnsafeGroupServiceServer
	*Server
}

type transactionServer struct {
	moldauv1.UnsafeTransactionServiceServer
	*Server
}

type offsetServer struct {
	moldauv1.UnsafeOffsetServiceServer
	*Server
}

type topicServer struct {
	moldauv1.UnsafeTopicServiceServer
	*Server
}

type clusterServer struct {
	moldauv1.UnsafeClusterServiceServer
	*Server
}

type produceServer struct {
	moldauv1.UnsafeProduceServiceServer
	*Server
}

// ProduceStream hides the Server's own method of that name.
func (p produceServer) ProduceStream(stream grpc.BidiStreamingServer[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]) error {
	return p.Server.ProduceStream(stream.Context(), grpcProduceStream{stream})
}

type grpcProduceStream struct {
	grpc.BidiStreamingServer[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]
}

// The fields that a batch is in.
const (
	requestField     = 2 // of a ProduceStreamRequest
	recordBatchField = 4 // of a ProduceRequest
)

// Receive returns a request whose batch lies where the transport read it, or was
// copied once where it came in pieces.
func (s grpcProduceStream) Receive() (*moldauv1.ProduceStreamRequest, func(), error) {
	req := new(moldauv1.ProduceStreamRequest)
	whole := transport.NewFrame(req, requestField)
	defer whole.Free()
	if err := s.RecvMsg(whole); err != nil {
		return nil, nil, err
	}
	if len(whole.Body) == 0 {
		return req, nil, nil
	}
	req.Request = new(moldauv1.ProduceRequest)
	inner := transport.NewFrame(req.GetRequest(), recordBatchField)
	if err := whole.Split(inner); err != nil {
		return nil, nil, errcode.Wrap(err, errcode.InvalidArgument, "the request is malformed").WithField("request")
	}
	req.Request.RecordBatch = inner.Bytes()
	return req, inner.Free, nil
}

type readServer struct {
	moldauv1.UnsafeReadServiceServer
	*Server
}

// The fields of a ReadResponse that batches are in.
const (
	recordsField       = 2
	recordBatchesField = 4
)

// Read hides the Server's own method of that name.
func (r readServer) Read(req *moldauv1.ReadRequest, stream grpc.ServerStreamingServer[moldauv1.ReadResponse]) error {
	return r.Server.Read(stream.Context(), req, stream.Send, func(f *moldauv1.ReadRecords, batches mem.BufferSlice) error {
		frame := transport.NewFrameWithin(recordsField, f, recordBatchesField, batches)
		defer frame.Free()
		return stream.SendMsg(frame)
	})
}

type consumeServer struct {
	moldauv1.UnsafeConsumeServiceServer
	*Server
}

// Consume hides the Server's own method of that name.
func (c consumeServer) Consume(req *moldauv1.ConsumeRequest, stream grpc.ServerStreamingServer[moldauv1.ConsumeResponse]) error {
	return c.Server.Consume(stream.Context(), req, stream.Send)
}
