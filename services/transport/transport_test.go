package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

const echoMethod = "/test.Echo/Call"

// handler is what a test's server does with a frame.
type handler func(ctx context.Context, in *Frame) (*Frame, error)

// start returns a connection to a server with one unary method and one bidi
// stream, both served by h.
func start(t *testing.T, o Options, h handler) (*grpc.ClientConn, *grpc.Server) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := NewServer(o)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: unary(h)}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", Handler: stream(h), ServerStreams: true, ClientStreams: true}},
	}, nil)
	lis := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	conn, err := Dial("passthrough:///test", DialOptions{Metrics: o.Metrics, Tracing: o.Tracing, Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		return lis.DialContext(ctx)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return conn, s
}

func unary(h handler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := NewFrame(&anypb.Any{}, anyValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: echoMethod},
			func(ctx context.Context, req any) (any, error) { return h(ctx, req.(*Frame)) })
	}
}

func stream(h handler) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		in := NewFrame(&anypb.Any{}, anyValue)
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		out, err := h(ss.Context(), in)
		if err != nil {
			return err
		}
		return ss.SendMsg(out)
	}
}

func call(t *testing.T, conn grpc.ClientConnInterface, body []byte) (*Frame, error) {
	out := NewFrame(&anypb.Any{}, anyValue)
	return out, conn.Invoke(t.Context(), echoMethod, NewFrame(&anypb.Any{TypeUrl: "u"}, anyValue, body), out)
}

func echo(_ context.Context, in *Frame) (*Frame, error) { return in, nil }

func TestFramesTravelThroughAServer(t *testing.T) {
	conn, _ := start(t, Options{Metrics: prometheus.NewRegistry()}, echo)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	out, err := call(t, conn, body)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Free()
	if !bytes.Equal(out.Bytes(), body) || out.Header.(*anypb.Any).TypeUrl != "u" {
		t.Fatal("the frame came back changed")
	}
}

func TestErrorsArriveAsTheyWereReturned(t *testing.T) {
	sent := errcode.New(errcode.NotLeader, "not here").With("leader", 2)
	conn, _ := start(t, Options{}, func(context.Context, *Frame) (*Frame, error) { return nil, sent })

	_, err := call(t, conn, nil)
	if got, ok := errors.AsType[*errcode.Error](err); !ok || got.Reason != sent.Reason || got.Metadata["leader"] != "2" {
		t.Errorf("unary error %#v", err)
	}

	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(NewFrame(&anypb.Any{}, anyValue)); err != nil {
		t.Fatal(err)
	}
	err = s.RecvMsg(NewFrame(&anypb.Any{}, anyValue))
	if got, ok := errors.AsType[*errcode.Error](err); !ok || got.Reason != sent.Reason {
		t.Errorf("stream error %#v", err)
	}
}

func TestPanicBecomesInternalAndIsLogged(t *testing.T) {
	var log bytes.Buffer
	conn, s := start(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))},
		func(context.Context, *Frame) (*Frame, error) { panic("hunter2") })
	_, err := call(t, conn, nil)
	if !errcode.Is(err, errcode.Internal) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	s.Stop() // the log is complete
	if !strings.Contains(log.String(), "hunter2") {
		t.Errorf("log %s", &log)
	}
}

func TestUnaryCallsAlwaysHaveADeadline(t *testing.T) {
	conn, _ := start(t, Options{DefaultDeadline: time.Minute}, func(ctx context.Context, in *Frame) (*Frame, error) {
		if _, has := ctx.Deadline(); !has {
			return nil, errcode.New(errcode.InvalidArgument, "no deadline")
		}
		return in, nil
	})
	if _, err := call(t, conn, nil); err != nil {
		t.Error(err)
	}
}

// TestACallWhoseRequestNeverComesEnds: its deadline runs from its first frame,
// not from the handler.
func TestACallWhoseRequestNeverComesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := start(t, Options{DefaultDeadline: time.Minute}, echo)
		s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, echoMethod)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(NewFrame(&anypb.Any{}, anyValue)); !errcode.Is(err, errcode.RequestTimedOut) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestCallsAreCountedByProtocolRPCAndReason: servers of one process share the
// metrics; what nobody serves leaves no label behind.
func TestCallsAreCountedByProtocolRPCAndReason(t *testing.T) {
	r := prometheus.NewRegistry()
	for range 2 {
		conn, _ := start(t, Options{Metrics: r}, echo)
		if _, err := call(t, conn, nil); err != nil {
			t.Fatal(err)
		}
		err := conn.Invoke(t.Context(), "/test.Echo/Nothing", NewFrame(&anypb.Any{}, anyValue), NewFrame(&anypb.Any{}, anyValue))
		if !errcode.Is(err, errcode.Unimplemented) {
			t.Fatal(err)
		}
	}
	broken, _ := start(t, Options{Metrics: r}, func(context.Context, *Frame) (*Frame, error) { panic("on purpose") })
	if _, err := call(t, broken, nil); err == nil {
		t.Fatal("a handler that panics answered")
	}
	want := `# HELP moldau_rpc_ended_total Calls that ended, by the reason of their error, OK without one.
# TYPE moldau_rpc_ended_total counter
moldau_rpc_ended_total{protocol="grpc",reason="INTERNAL",rpc="test.Echo/Call"} 1
moldau_rpc_ended_total{protocol="grpc",reason="OK",rpc="test.Echo/Call"} 2
`
	if got := exposed(t, r, "moldau_rpc_ended_total"); got != want {
		t.Errorf("counted\n%s", got)
	}
	if got := exposed(t, r, "moldau_rpc_seconds"); !strings.Contains(got, `moldau_rpc_seconds_count{protocol="grpc",rpc="test.Echo/Call"} 3`) {
		t.Errorf("timed\n%s", got)
	}
}

// exposed is one metric of r as a scraper sees it.
func exposed(t *testing.T, r *prometheus.Registry, name string) string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		if f.GetName() == name {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return text.String()
}

// TestTracesTravelWithCalls: the far handler works in the trace of the caller.
func TestTracesTravelWithCalls(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
	var seen trace.SpanContext
	conn, _ := start(t, Options{Tracing: tp}, func(ctx context.Context, in *Frame) (*Frame, error) {
		seen = trace.SpanContextFromContext(ctx)
		return in, nil
	})
	ctx, span := tp.Tracer("test").Start(t.Context(), "caller")
	if err := conn.Invoke(ctx, echoMethod, NewFrame(&anypb.Any{}, anyValue), NewFrame(&anypb.Any{}, anyValue)); err != nil {
		t.Fatal(err)
	}
	if seen.TraceID() != span.SpanContext().TraceID() || seen.SpanID() == span.SpanContext().SpanID() {
		t.Errorf("the handler is in %s, the caller in %s", seen.TraceID(), span.SpanContext().TraceID())
	}
}

func TestGracefulStopCutsOffAtTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{})
		conn, s := start(t, Options{}, func(ctx context.Context, _ *Frame) (*Frame, error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		clk := clock.NewManual(time.Unix(0, 0))
		answered := make(chan error)
		go func() { _, err := call(t, conn, nil); answered <- err }()
		<-entered
		stopped := make(chan struct{})
		go func() { GracefulStop(t.Context(), clk, s); close(stopped) }()
		synctest.Wait()
		clk.Advance(HardStopAfter)
		<-stopped
		if err := <-answered; err == nil {
			t.Error("the call that hung succeeded")
		}
	})
}

func TestPoolKeepsAKeyOnOneConnection(t *testing.T) {
	p, err := DialPool("passthrough:///nobody", 3, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again, once, twice := p.For(7), p.Next(), p.Next()
	if p.For(7) != again || once == twice || p.Len() != 3 {
		t.Error("connections are not chosen as promised")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := DialPool("x", 5, DialOptions{}); err == nil {
		t.Error("5 connections were allowed")
	}
}
