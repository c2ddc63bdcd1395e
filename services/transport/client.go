package transport

import (
	"context"
	"errors"
	"io"
	"net"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/resolver"

	"moldau.dev/services/errcode"
)

// DialOptions shape a connection. The zero value is an internal one in plain
// text.
type DialOptions struct {
	Audience     Audience
	Credentials  credentials.TransportCredentials // nil: plain text
	Metrics      prometheus.Registerer            // nil: no metrics
	Tracing      trace.TracerProvider             // nil: no traces
	MaxRecvBytes int                              // 0: 4 MiB; see MaxMessage for the data path
	Resolver     resolver.Builder                 // nil: grpc-go's own schemes; discovery's for moldau:///role
	RoundRobin   bool                             // spread calls over all addresses of the target
	Dialer       func(ctx context.Context, addr string) (net.Conn, error)
}

// Dial returns a connection to target that connects when first used. Retries
// are off: whoever knows whether a call may be repeated repeats it.
func Dial(target string, o DialOptions) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(target, o.dialOptions()...)
	if err != nil {
		return nil, errcode.Wrap(err, errcode.InvalidArgument, "dial %q", target)
	}
	return conn, nil
}

func (o DialOptions) dialOptions() []grpc.DialOption {
	streamWindow, connWindow, ioBuffer := internalStreamWindow, internalConnWindow, internalIOBuffer
	if o.Audience == External {
		streamWindow, connWindow, ioBuffer = externalStreamWindow, externalConnWindow, externalIOBuffer
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(orDefault(o.Credentials, insecure.NewCredentials())),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(Codec()),
			grpc.MaxCallRecvMsgSize(orDefault(o.MaxRecvBytes, defaultMaxMessage)),
		),
		experimental.WithBufferPool(sharedPool),
		grpc.WithKeepaliveParams(clientKeepalive),
		grpc.WithConnectParams(reconnect),
		grpc.WithStaticStreamWindowSize(int32(streamWindow)),
		grpc.WithStaticConnWindowSize(int32(connWindow)),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithChainUnaryInterceptor(o.unaryInterceptors()...),
		grpc.WithChainStreamInterceptor(o.streamInterceptors()...),
	}
	if o.Tracing != nil {
		opts = append(opts, grpc.WithStatsHandler(otelgrpc.NewClientHandler(tracing(o.Tracing)...)))
	}
	if o.Resolver != nil {
		opts = append(opts, grpc.WithResolvers(o.Resolver))
	}
	if o.RoundRobin {
		opts = append(opts, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	}
	if o.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dialer))
	}
	return opts
}

func (o DialOptions) metrics() *grpcprom.ClientMetrics {
	return register(o.Metrics, grpcprom.NewClientMetrics(
		grpcprom.WithClientHandlingTimeHistogram(grpcprom.WithHistogramOpts(clientHistogram()))))
}

func (o DialOptions) unaryInterceptors() []grpc.UnaryClientInterceptor {
	list := []grpc.UnaryClientInterceptor{unaryClientErrors}
	if o.Metrics != nil {
		list = append(list, o.metrics().UnaryClientInterceptor())
	}
	return list
}

func (o DialOptions) streamInterceptors() []grpc.StreamClientInterceptor {
	list := []grpc.StreamClientInterceptor{streamClientErrors}
	if o.Metrics != nil {
		list = append(list, o.metrics().StreamClientInterceptor())
	}
	return list
}

func unaryClientErrors(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return received(ctx, invoke(ctx, method, req, reply, cc, opts...))
}

func streamClientErrors(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, received(ctx, err)
	}
	return errorStream{s, ctx}, nil
}

// received maps an error of grpc-go; io.EOF stays what it is on a stream. A call
// that ends as canceled though the caller of ctx did not give up has lost its
// peer: someone closed the connection under it, as a pool does when a node moves.
func received(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	e := errcode.Of(err)
	if e.Reason == errcode.Canceled && ctx.Err() == nil {
		return errcode.Wrap(err, errcode.NodeUnavailable, "the call was cut off")
	}
	return e
}

// errorStream maps the errors of a stream that was opened with ctx.
type errorStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (s errorStream) RecvMsg(m any) error { return received(s.ctx, s.ClientStream.RecvMsg(m)) }
func (s errorStream) SendMsg(m any) error { return received(s.ctx, s.ClientStream.SendMsg(m)) }
func (s errorStream) CloseSend() error    { return received(s.ctx, s.ClientStream.CloseSend()) }
