package bench

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"moldau.dev/services/transport"
)

// rawStream is a gRPC stream over loopback with the codec that does not copy:
// bodies go up, empty answers come down.
type rawStream struct {
	server *grpc.Server
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	body   []byte
	flying int
	most   int
	served chan error
}

const (
	rawMethod    = "/moldau.bench.Raw/Stream"
	rawBodyField = 1
)

// rawServer takes frames and answers each.
type rawServer struct{}

func (rawServer) serve(stream grpc.ServerStream) error {
	for {
		in := newFrame()
		if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		in.Free()
		if err := stream.SendMsg(newFrame()); err != nil {
			return err
		}
	}
}

func newFrame(body ...[]byte) *transport.Frame {
	return transport.NewFrame(&emptypb.Empty{}, rawBodyField, body...)
}

var rawService = grpc.ServiceDesc{
	ServiceName: "moldau.bench.Raw", HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: "Stream", ClientStreams: true, ServerStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error { return srv.(rawServer).serve(stream) },
	}},
}

func newRawStream(ctx context.Context, cfg Config) (*rawStream, error) {
	limit := transport.MaxMessage(cfg.BatchBytes)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &rawStream{
		server: transport.NewServer(transport.Options{Log: slog.New(slog.DiscardHandler), MaxRecvBytes: limit}),
		body:   newPayload(time.Time{}, cfg.BatchBytes).value, most: cfg.InFlight, served: make(chan error, 1),
	}
	s.server.RegisterService(&rawService, rawServer{})
	go func() { s.served <- s.server.Serve(l) }()
	if s.conn, err = transport.Dial(l.Addr().String(), transport.DialOptions{MaxRecvBytes: limit}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.stream, err = s.conn.NewStream(ctx, &rawService.Streams[0], rawMethod)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// step sends one message, with as many in flight as the run has.
func (s *rawStream) step() (int, error) {
	if s.flying == s.most {
		if err := s.stream.RecvMsg(newFrame()); err != nil {
			return 0, err
		}
		s.flying--
	}
	s.flying++
	return len(s.body), s.stream.SendMsg(newFrame(s.body))
}

func (s *rawStream) close() error {
	var err error
	if s.conn != nil {
		err = s.conn.Close()
	}
	s.server.Stop()
	return errors.Join(err, <-s.served)
}
