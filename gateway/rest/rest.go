// Package rest serves moldau.v1 as REST and JSON, by the google.api.http lines
// of the contract: a thin face of gateway/native, called in process.
//
// Invariant: what a caller gets wrong, it is told: no unknown field, no second
// value, no deep nesting is passed over in silence, and every error is a JSON
// object with a reason.
package rest

import (
	"context"
	_ "embed" // openapi.json
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"moldau.dev/gateway/native"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// OpenAPI describes the REST face. It is a copy of
// proto/gen/openapi/moldau.swagger.json, which embedding cannot reach; a test
// keeps the two equal.
//
//go:embed openapi.json
var OpenAPI []byte

// MaxDepth is how deep JSON may nest: twice what any request of the contract
// needs.
const MaxDepth = 16

// Options shape the handler.
type Options struct {
	Log      *slog.Logger
	MaxBytes int64                // of a request's body
	Deadline time.Duration        // of calls that bring none, streams excepted
	Calls    *transport.Calls     // nil: not counted
	Tracing  trace.TracerProvider // nil: not traced
}

// NewHandler returns the handler of /v1/.
func NewHandler(s *native.Server, o Options) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newCodec(o.MaxBytes)),
		runtime.WithErrorHandler(func(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
			fail(ctx, w, readable(err))
		}),
		runtime.WithRoutingErrorHandler(routingError),
		runtime.SetQueryParameterParser(new(strictQuery)),
		runtime.WithStreamErrorHandler(func(ctx context.Context, err error) *status.Status {
			callOf(ctx).err = err
			return errcode.ToStatus(err)
		}),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }), // nothing below reads them
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(named),
	)
	ctx := context.Background() // the generated code keeps it for connections, of which there are none
	for _, err := range []error{
		moldauv1.RegisterTopicServiceHandlerServer(ctx, mux, s.TopicServer()),
		moldauv1.RegisterProduceServiceHandlerServer(ctx, mux, s.ProduceServer()),
		moldauv1.RegisterClusterServiceHandlerServer(ctx, mux, s.ClusterServer()),
		moldauv1.RegisterTransactionServiceHandlerServer(ctx, mux, s.TransactionServer()),
		moldauv1.RegisterOffsetServiceHandlerServer(ctx, mux, s.OffsetServer()),
		moldauv1.RegisterGroupServiceHandlerServer(ctx, mux, s.GroupServer()),
		moldauv1.RegisterNodeServiceHandlerServer(ctx, mux, s.NodeServer()),
		moldauv1.RegisterPlacementServiceHandlerServer(ctx, mux, s.PlacementServer()),
		moldauv1.RegisterReadServiceHandlerClient(ctx, mux, inProcess{s}),
		moldauv1.RegisterConsumeServiceHandlerClient(ctx, mux, inProcess{s}),
	} {
		if err != nil {
			return nil, fmt.Errorf("register REST routes: %w", err)
		}
	}
	return observe(guard(mux, o), o), nil
}

// guard bounds a call in bytes and time, and turns a panic into an answer.
func guard(next http.Handler, o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil || p == http.ErrAbortHandler { //nolint:errorlint // a sentinel, as net/http compares it
				return
			}
			o.Log.ErrorContext(r.Context(), "handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			fail(r.Context(), w, errcode.New(errcode.Internal, "internal error"))
		}()
		if r.ContentLength > o.MaxBytes {
			fail(r.Context(), w, tooLarge(o.MaxBytes))
			return
		}
		if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
			fail(r.Context(), w, errcode.New(errcode.InvalidArgument, "content encoding %q is not taken", enc).WithHint("Send the body as it is."))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, o.MaxBytes)
		ctx := r.Context()
		if !Streams(r.URL.Path) {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.Deadline)
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Streams tells whether a path is that of a stream: Read or Consume.
func Streams(path string) bool {
	group, consumes := strings.CutSuffix(path, ":consume")
	return path == "/v1/read" || consumes && strings.HasPrefix(group, "/v1/groups/")
}

func tooLarge(limit int64) *errcode.Error {
	return errcode.New(errcode.RecordTooLarge, "the body has more than %d bytes", limit)
}

// codec is protojson, strictly.
type codec struct {
	*runtime.JSONPb
	maxBytes int64
}

func newCodec(maxBytes int64) runtime.Marshaler {
	return &codec{maxBytes: maxBytes, JSONPb: &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{EmitDefaultValues: true},
		UnmarshalOptions: protojson.UnmarshalOptions{RecursionLimit: MaxDepth},
	}}
}

// StreamContentType is of streams: a JSON object a line.
func (*codec) StreamContentType(any) string { return "application/x-ndjson" }

// NewDecoder reads the whole body, so that what follows the first value is
// seen. An empty body is the empty request.
func (c *codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			return io.EOF
		}
		if m, ok := v.(proto.Message); ok {
			return c.UnmarshalOptions.Unmarshal(body, m) // JSONPb's own stops after the first value
		}
		return c.Unmarshal(body, v)
	})
}

func routingError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	switch code {
	case http.StatusMethodNotAllowed:
		e := errcode.New(errcode.Unimplemented, "%s is not taken here", r.Method).WithHint("See /openapi.json.")
		callOf(ctx).err = e
		writeError(w, http.StatusMethodNotAllowed, e)
	case http.StatusNotFound:
		NotFound(w, r)
	default:
		fail(ctx, w, errcode.New(errcode.InvalidArgument, "the path is malformed"))
	}
}

// NotFound answers for paths that lead nowhere.
func NotFound(w http.ResponseWriter, r *http.Request) {
	e := errcode.New(errcode.Unimplemented, "nothing is served at this path").WithHint("See /openapi.json.")
	callOf(r.Context()).err = e
	writeError(w, http.StatusNotFound, e)
}

// readable finds the reason in an error of the generated code, which wraps the
// codec's and http's errors as text.
func readable(err error) error {
	st, ok := status.FromError(err)
	if e := errcode.Of(err); !ok || e.Reason != errcode.InvalidArgument || len(st.Details()) > 0 {
		return e
	}
	const bodyTooLarge = "http: request body too large"
	if st.Message() == bodyTooLarge {
		return errcode.New(errcode.RecordTooLarge, "the body is too large")
	}
	return errcode.New(errcode.InvalidArgument, "%s", st.Message()).WithHint("See /openapi.json for the fields and their form.")
}

// answer is an error as JSON.
type answer struct {
	Code       string            `json:"code"` // gRPC's
	Reason     string            `json:"reason"`
	Message    string            `json:"message"`
	Field      string            `json:"field,omitempty"`
	Hint       string            `json:"hint,omitempty"`
	Retryable  bool              `json:"retryable"`
	RetryAfter string            `json:"retryAfter,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// fail notes a call's error and writes it.
func fail(ctx context.Context, w http.ResponseWriter, err error) {
	callOf(ctx).err = err
	WriteError(w, err)
}

// WriteError writes err as JSON, with the HTTP status of its reason.
func WriteError(w http.ResponseWriter, err error) {
	writeError(w, errcode.Of(err).Reason.HTTP(), errcode.Of(err))
}

func writeError(w http.ResponseWriter, code int, e *errcode.Error) {
	a := answer{
		Code: e.Reason.GRPC().String(), Reason: string(e.Reason), Message: e.Message, Field: e.Field,
		Hint: e.HintOrDefault(), Retryable: e.Retryable(), Metadata: e.Metadata,
	}
	if e.RetryAfter > 0 {
		a.RetryAfter = e.RetryAfter.String()
		w.Header().Set("Retry-After", fmt.Sprint(int((e.RetryAfter + time.Second - 1).Seconds())))
	}
	w.Header().Del("Trailer")
	w.Header().Del("Transfer-Encoding")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a) // the caller may have gone
}
