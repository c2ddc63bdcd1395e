package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	connectcors "connectrpc.com/cors"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/otelconnect"
	"github.com/rs/cors"

	"moldau.dev/gateway/native"
	"moldau.dev/gateway/rest"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/transport"
)

// Limits of the HTTP listener (rule G5): net/http's own have none.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	maxStreams     = 128
	corsMaxAge     = 2 * 60 * 60      // seconds; Chrome's most
	answerTimeout  = 60 * time.Second // of an answer that is on its way, 16 MiB at most
)

// newHTTPServer returns the server of all that is not grpc-go's.
func (s *Service) newHTTPServer() (*http.Server, error) {
	mux := http.NewServeMux()
	if err := s.mountConnect(mux); err != nil {
		return nil, err
	}
	restHandler, err := rest.NewHandler(s.native, rest.Options{
		Log: s.log, MaxBytes: int64(s.maxJSONBytes()), Deadline: s.cfg.CallTimeout, Calls: s.calls, Tracing: s.tracing,
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/v1/", restHandler)
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(rest.OpenAPI) // the caller may have gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", rest.NotFound)

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.cors(plainPaths(s.quickCalls(mux))),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of what callers do
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}, nil
}

// maxJSONBytes leaves room for base64 and the names of fields.
func (s *Service) maxJSONBytes() int {
	return transport.MaxMessage(s.cfg.MaxRequestBytes + s.cfg.MaxRequestBytes/2)
}

func (s *Service) mountConnect(mux *http.ServeMux) error {
	interceptors := []connect.ServerInterceptor{native.CountConnect(s.calls), native.ConnectInterceptor(s.log, s.cfg.CallTimeout)}
	if s.tracing != nil {
		traced, err := otelconnect.NewServerInterceptor(otelconnect.WithTracerProvider(s.tracing),
			otelconnect.WithPropagator(telemetry.Propagator()), otelconnect.WithTrustRemote(), otelconnect.WithoutMetrics())
		if err != nil {
			return fmt.Errorf("trace Connect: %w", err)
		}
		interceptors = append([]connect.ServerInterceptor{traced}, interceptors...)
	}
	server := connect.NewServer(interceptors...)
	s.native.RegisterConnect(server)
	strict := connectproto.NewJSONCodec()
	strict.UnmarshalOptions.DiscardUnknown = false
	strict.UnmarshalOptions.RecursionLimit = rest.MaxDepth
	connecthttp.Mount(mux, server,
		connecthttp.WithCodecs(connectproto.NewBinaryCodec(), strict),
		connecthttp.WithReadMaxBytes(s.maxJSONBytes()),
		connecthttp.WithConditionalOptions(func(spec connect.Spec) []connecthttp.Option {
			switch spec.Procedure {
			case moldauv1connect.ReadServiceFetchProcedure, moldauv1connect.ReadServiceReadProcedure, moldauv1connect.ConsumeServiceConsumeProcedure:
				// gzip costs records more than it wins: compressed batches are compressed already.
				return []connecthttp.Option{connecthttp.WithCompressMinBytes(1 << 30)}
			}
			return nil
		}),
	)
	mux.Handle(grpchealth.NewHandler(s.httpHealth))
	if s.cfg.Reflection {
		reflector := grpcreflect.NewStaticReflector(services...)
		mux.Handle(grpcreflect.NewHandlerV1(reflector))
		mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	}
	return nil
}

// plainPaths refuses paths that ServeMux would clean and redirect: a client
// that sends them is mistaken or means harm.
func plainPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if clean := path.Clean(p); p != clean && p != clean+"/" || !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\\\x00") {
			rest.WriteError(w, errcode.New(errcode.InvalidArgument, "the path is not plain").WithHint("Leave out //, . and ..; see /openapi.json."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// quickCalls bounds how long the body of a call may take to arrive and its
// answer to leave, streams excepted: they wait for as long as they like. What
// the answer holds it holds until it has left.
func (s *Service) quickCalls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if !sendsForLong(r.URL.Path) && r.Body != http.NoBody && rc.SetReadDeadline(s.clk.Now().Add(s.cfg.CallTimeout)) == nil {
			r = r.WithContext(r.Context()) // net/http looks at its own request's body
			r.Body = &quickBody{ReadCloser: r.Body, rc: rc}
		}
		if !answersForLong(r.URL.Path) && rc.SetWriteDeadline(s.clk.Now().Add(s.cfg.CallTimeout+answerTimeout)) == nil {
			defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // it could be set, so it can be lifted
		}
		ctx, sending := transport.WithSending(r.Context())
		defer sending.Done()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// sendsForLong tells whether the body of a request goes on for as long as the
// caller likes.
func sendsForLong(path string) bool {
	return path == moldauv1connect.ProduceServiceProduceStreamProcedure || strings.HasPrefix(path, "/grpc.reflection.")
}

// answersForLong tells whether the answer to a request does.
func answersForLong(path string) bool {
	return sendsForLong(path) || path == moldauv1connect.ReadServiceReadProcedure || path == moldauv1connect.ConsumeServiceConsumeProcedure || rest.Streams(path) || strings.HasPrefix(path, "/grpc.health.")
}

// quickBody lifts the deadline with the body's end: net/http also watches for
// the client's going by reading, and would take a late deadline for that.
type quickBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *quickBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.rc.SetReadDeadline(time.Time{}) // it could be set, so it can be lifted
	}
	return n, err
}

func (s *Service) cors(next http.Handler) http.Handler {
	if len(s.cfg.AllowedOrigins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: s.cfg.AllowedOrigins,
		AllowedMethods: append(connectcors.AllowedMethods(), http.MethodPatch, http.MethodDelete),
		AllowedHeaders: append(connectcors.AllowedHeaders(), "Authorization"),
		ExposedHeaders: append(connectcors.ExposedHeaders(), "Retry-After"),
		MaxAge:         corsMaxAge,
	}).Handler(next)
}
