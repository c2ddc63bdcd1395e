package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// RegisterConnect puts every service on a Connect server.
func (s *Server) RegisterConnect(server *connect.Server) {
	moldauv1connect.RegisterTopicServiceHandler(server, s)
	moldauv1connect.RegisterProduceServiceHandler(server, connectProduce{s})
	moldauv1connect.RegisterReadServiceHandler(server, connectRead{s})
	moldauv1connect.RegisterClusterServiceHandler(server, s)
	moldauv1connect.RegisterTransactionServiceHandler(server, s)
	moldauv1connect.RegisterOffsetServiceHandler(server, s)
	moldauv1connect.RegisterGroupServiceHandler(server, s)
	moldauv1connect.RegisterNodeServiceHandler(server, s)
	moldauv1connect.RegisterPlacementServiceHandler(server, s)
	moldauv1connect.RegisterConsumeServiceHandler(server, connectConsume{s})
}

type connectProduce struct{ *Server }

// ProduceStream hides the Server's own method of that name.
func (c connectProduce) ProduceStream(ctx context.Context, stream moldauv1connect.ProduceServiceProduceStreamServerStream) error {
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	return c.Server.ProduceStream(ctx, connectProduceStream{stream})
}

type connectProduceStream struct {
	moldauv1connect.ProduceServiceProduceStreamServerStream
}

func (s connectProduceStream) Receive() (*moldauv1.ProduceStreamRequest, func(), error) {
	req, err := s.ProduceServiceProduceStreamServerStream.Receive()
	return req, nil, err
}

type connectRead struct{ *Server }

// Read hides the Server's own method of that name.
func (c connectRead) Read(ctx context.Context, req *moldauv1.ReadRequest, stream moldauv1connect.ReadServiceReadServerStream) error {
	return c.Server.Read(ctx, req, stream.Send, nil)
}

type connectConsume struct{ *Server }

// Consume hides the Server's own method of that name.
func (c connectConsume) Consume(ctx context.Context, req *moldauv1.ConsumeRequest, stream moldauv1connect.ConsumeServiceConsumeServerStream) error {
	return c.Server.Consume(ctx, req, stream.Send)
}

// ConnectInterceptor does for Connect what services/transport does for
// grpc-go: a deadline for unary calls that have none, panics become INTERNAL,
// faults are logged, every error gets its reason.
func ConnectInterceptor(log *slog.Logger, deadline time.Duration) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
			defer func() {
				if p := recover(); p != nil {
					log.ErrorContext(ctx, "handler panicked", "procedure", spec.Procedure, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
					err = errcode.New(errcode.Internal, "internal error")
				}
				if err = connectError(err); connect.CodeOf(err) == connect.CodeInternal {
					log.ErrorContext(ctx, "call failed", "procedure", spec.Procedure, "error", err, "cause", errors.Unwrap(err))
				}
			}()
			if _, has := ctx.Deadline(); !has && spec.StreamType == connect.StreamTypeUnary {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, deadline)
				defer cancel()
			}
			return next(ctx, spec, stream)
		}
	}
}

// CountConnect tells calls of each call, by the protocol that it came by.
func CountConnect(calls *transport.Calls) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			protocol := connect.ProtocolNameConnect
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				protocol = info.Protocol
			}
			end := calls.Begin(protocol)
			err := next(ctx, spec, stream)
			end(spec.Procedure, err)
			return err
		}
	}
}

// connectError gives err its Connect face. The library's own errors, such as
// that of a message that cannot be decoded, keep code and text and get the
// reason that their code suggests.
func connectError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	e, ours := errors.AsType[*errcode.Error](err)
	if own, theirs := errors.AsType[*connect.Error](err); theirs && !ours {
		if e = errcode.FromStatus(status.New(codes.Code(own.Code()), own.Message())); e == nil {
			return err
		}
		return withDetails(own.WithCause(errcode.Wrap(own, e.Reason, "%s", e.Message)), e)
	}
	if !ours {
		e = errcode.Of(err)
	}
	return withDetails(connect.NewError(connect.Code(e.Reason.GRPC()), e.Message).WithCause(e), e)
}

func withDetails(to *connect.Error, e *errcode.Error) error {
	for _, d := range errcode.ToStatus(e).Details() {
		m, ok := d.(proto.Message)
		if !ok {
			continue
		}
		if detail, err := connectproto.NewErrorDetail(m); err == nil {
			to = to.WithDetail(detail)
		}
	}
	return to
}
