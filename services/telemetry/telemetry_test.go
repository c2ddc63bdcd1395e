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

func TestTraceTravelsInRecordHeaders(t *testing.T) {
	sent := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	ctx := trace.ContextWithSpanContext(t.Context(), sent)
	given := []Header{{"k", []byte("v")}, {"traceparent", []byte("stale")}}

	headers := Inject(ctx, given)

	if len(headers) != 2 || string(given[1].Value) != "stale" {
		t.Fatalf("headers %q, given now %q", headers, given)
	}
	if got := trace.SpanContextFromContext(Extract(context.Background(), headers)); !got.Equal(sent) {
		t.Fatalf("arrived as %v, sent %v", got, sent)
	}
}

func TestTracingIsOffByDefault(t *testing.T) {
	tp, stop, err := NewTracing(t.Context(), DefaultTrace(), "moldau", "1")
	if err != nil {
		t.Fatal(err)
	}
	_, span := tp.Tracer("t").Start(t.Context(), "s")
	if span.IsRecording() {
		t.Error("a span records")
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
