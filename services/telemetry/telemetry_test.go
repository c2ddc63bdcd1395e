package telemetry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func spanContext(flags trace.TraceFlags) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: flags, Remote: true,
	})
}

func TestTraceTravelsInRecordHeaders(t *testing.T) {
	sent := spanContext(trace.FlagsSampled)
	h, ok := Traceparent(trace.ContextWithSpanContext(t.Context(), sent))
	if !ok {
		t.Fatal("a sampled trace has no header")
	}
	headers := []Header{{"k", []byte("v")}, {TraceparentKey, []byte("stale")}, h}
	if got := trace.SpanContextFromContext(Extract(context.Background(), headers)); !got.Equal(sent) {
		t.Fatalf("arrived as %v, sent %v", got, sent)
	}
}

func TestTraceThatNobodyKeepsIsNotInRecordHeaders(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"not sampled": trace.ContextWithSpanContext(t.Context(), spanContext(0)),
		"no trace":    t.Context(),
	} {
		if h, ok := Traceparent(ctx); ok {
			t.Errorf("%s: %s=%s", name, h.Key, h.Value)
		}
	}
}

func TestTracingIsOffByDefault(t *testing.T) {
	tp, stop, err := NewTracing(t.Context(), DefaultTrace(), "moldau", "1")
	if err != nil {
		t.Fatal(err)
	}
	if tp != nil {
		t.Error("there is a tracer provider, so that every part traces")
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogLevelChangesWhileRunning(t *testing.T) {
	var out bytes.Buffer
	log, level := NewLogger(&out, LogConfig{Format: "json"})
	log.Debug("hidden")
	level.Set(-4)
	log.Debug("seen", Topic("orders"), Partition(3))
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"topic":"orders","partition":3`) {
		t.Errorf("log says %s", got)
	}
}

func TestAdminShowsTheProcess(t *testing.T) {
	ready := false
	h := Admin{
		Metrics: NewRegistry(),
		Ready:   func() bool { return ready },
		Config:  func(w io.Writer) error { _, err := io.WriteString(w, "node_id: 1\n"); return err },
	}.Handler()
	get := func(path string, wantStatus int, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != wantStatus || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s answers %d %.80q", path, w.Code, w.Body)
		}
	}
	get("/healthz", 200, "ok")
	get("/readyz", 503, "not ready")
	ready = true
	get("/readyz", 200, "ready")
	get("/metrics", 200, "go_goroutines")
	get("/config", 200, "node_id: 1")
	get("/debug/pprof/", 200, "goroutine")
}
