package rest

import (
	"context"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
)

// noRPC stands for the RPC of requests that lead to none.
const noRPC = "none"

// call is what becomes known of a request while it is served: the generated
// code tells which RPC it is, the error handlers why it failed.
type call struct {
	rpc string
	err error
}

type callKey struct{}

// callOf returns the call that ctx belongs to, never nil.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return new(call)
}

// named notes the RPC that the generated code found. It is a metadata
// annotator: the one thing of ours that is called with it.
func named(ctx context.Context, _ *http.Request) metadata.MD {
	if rpc, ok := runtime.RPCMethod(ctx); ok {
		callOf(ctx).rpc = rpc
	}
	return nil
}

// observe counts and traces the requests that next serves.
func observe(next http.Handler, o Options) http.Handler {
	var tracer trace.Tracer
	if o.Tracing != nil {
		tracer = o.Tracing.Tracer("moldau.dev/gateway/rest")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{rpc: noRPC}
		end := o.Calls.Begin("rest")
		defer func() { end(c.rpc, c.err) }()
		ctx := context.WithValue(r.Context(), callKey{}, c)
		if tracer != nil {
			var span trace.Span
			ctx = telemetry.Propagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
			ctx, span = tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer),
				trace.WithAttributes(attribute.String("http.request.method", r.Method)))
			defer func() { c.tell(span) }()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// tell ends the request's span, which is named for the RPC as those of the
// other protocols are.
func (c *call) tell(span trace.Span) {
	if c.rpc != noRPC {
		span.SetName(c.rpc[1:])
	}
	if c.err != nil {
		if e := errcode.Of(c.err); e.Reason.HTTP() >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, string(e.Reason))
		}
	}
	span.End()
}
