package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/tap"

	"moldau.dev/services/clock"
	"moldau.dev/services/telemetry"
)

// Options shape a server. The zero value serves internal callers in plain text.
type Options struct {
	Audience        Audience
	Clock           clock.Clock                      // nil: the real one
	Log             *slog.Logger                     // nil: slog.Default()
	Metrics         prometheus.Registerer            // nil: no metrics
	Tracing         trace.TracerProvider             // nil: no traces
	Credentials     credentials.TransportCredentials // nil: plain text
	MaxRecvBytes    int                              // 0: 4 MiB; see MaxMessage for the data path
	DefaultDeadline time.Duration                    // of unary calls that come without one; 0: 30 s
	Unary           []grpc.UnaryServerInterceptor    // innermost, after the house's own: auth, quota
	Stream          []grpc.StreamServerInterceptor
}

// NewServer returns a server with the house's limits and interceptors.
func NewServer(o Options) *grpc.Server {
	opts := append(o.limits(), o.interceptors()...)
	if o.Credentials != nil {
		opts = append(opts, grpc.Creds(o.Credentials))
	}
	if o.Tracing != nil {
		opts = append(opts, grpc.StatsHandler(otelgrpc.NewServerHandler(tracing(o.Tracing)...)))
	}
	var s *grpc.Server
	registered := func() map[string]grpc.ServiceInfo { return s.GetServiceInfo() }
	s = grpc.NewServer(append(opts, grpc.InTapHandle(o.deadline(registered)))...)
	return s
}

// deadline gives calls that have none a deadline, and those that have one
// beyond all reason a nearer one, streams excepted; it never extends. It is
// given where the call begins, before the request has arrived, so that a caller
// who never sends all of it is not waited for.
func (o Options) deadline(services func() map[string]grpc.ServiceInfo) tap.ServerInHandle {
	limit := orDefault(o.DefaultDeadline, defaultDeadline)
	streams := sync.OnceValue(func() map[string]bool { return streamsOf(services()) })
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		if streams()[info.FullMethodName] {
			return ctx, nil
		}
		most := limit
		if _, has := ctx.Deadline(); has {
			most = longestDeadline
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		_ = cancel // the call's end cancels the parent
		return ctx, nil
	}
}

// streamsOf returns the methods that may be open for long.
func streamsOf(services map[string]grpc.ServiceInfo) map[string]bool {
	streams := map[string]bool{}
	for name, service := range services {
		for _, m := range service.Methods {
			if m.IsClientStream || m.IsServerStream {
				streams["/"+name+"/"+m.Name] = true
			}
		}
	}
	return streams
}

// tracing makes calls carry the trace that they are made in; otelgrpc's own
// propagator is that of the process, which nobody sets. Health checks are no
// story to tell.
func tracing(tp trace.TracerProvider) []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(tp),
		otelgrpc.WithPropagators(telemetry.Propagator()),
		otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
	}
}

func (o Options) limits() []grpc.ServerOption {
	streamWindow, connWindow, ioBuffer, streams := internalStreamWindow, internalConnWindow, internalIOBuffer, internalMaxStreams
	if o.Audience == External {
		streamWindow, connWindow, ioBuffer, streams = externalStreamWindow, externalConnWindow, externalIOBuffer, externalMaxStreams
	}
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		experimental.BufferPool(sharedPool),
		grpc.KeepaliveParams(serverKeepalive(o.Audience)),
		grpc.KeepaliveEnforcementPolicy(keepalivePolicy),
		grpc.MaxConcurrentStreams(uint32(streams)),
		grpc.MaxRecvMsgSize(orDefault(o.MaxRecvBytes, defaultMaxMessage)),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.StaticStreamWindowSize(int32(streamWindow)), // both windows or neither
		grpc.StaticConnWindowSize(int32(connWindow)),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.WaitForHandlers(true),
	}
}

// GracefulStop lets calls end, for at most HardStopAfter or until ctx is done,
// and then cuts them off. It returns once no handler runs.
func GracefulStop(ctx context.Context, clk clock.Clock, s *grpc.Server) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.GracefulStop()
	}()
	limit := clk.NewTimer(HardStopAfter)
	defer limit.Stop()
	select {
	case <-ended:
		return
	case <-limit.C():
	case <-ctx.Done():
	}
	s.Stop()
	<-ended
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
