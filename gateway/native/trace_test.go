package native_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/native"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/storage-node/storageclient"
)

// oneProduce is a ProduceStream of one request. That it is asked for a second
// tells that the first is queued.
type oneProduce struct {
	asked  int
	queued chan struct{}
}

func (p *oneProduce) Receive() (*moldauv1.ProduceStreamRequest, func(), error) {
	if p.asked++; p.asked == 1 {
		return &moldauv1.ProduceStreamRequest{Request: &moldauv1.ProduceRequest{Topic: "t", Records: []*moldauv1.Record{{Value: []byte("v")}}}}, nil, nil
	}
	close(p.queued)
	return nil, nil, io.EOF
}

func (p *oneProduce) Send(*moldauv1.ProduceStreamResponse) error { return nil }

// TestProducesThatShareABatchAreLinked: the append is told in the trace of the
// first of them, and names the others.
func TestProducesThatShareABatchAreLinked(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
	meta, storage := gatewaytest.NewMetadata(), gatewaytest.NewStorage(clock.Real())
	s, err := native.NewServer(native.Config{
		ProduceTimeout: time.Minute, MaxInFlightBytes: 1 << 20, StreamInFlightBytes: 1 << 20, MaxRequestBytes: 1 << 20,
	}, native.Deps{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: meta, Nodes: gatewaytest.NewNodes(storage), Tracing: tp})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic(t.Context(), &moldauv1.CreateTopicRequest{Name: "t", PartitionCount: 1}); err != nil {
		t.Fatal(err)
	}
	alone, gate := make(chan struct{}, 2), make(chan struct{})
	storage.BeforeAppend = func(*storageclient.AppendRequest) error {
		alone <- struct{}{}
		<-gate
		return nil
	}

	var streams sync.WaitGroup
	var traces []trace.TraceID
	for i := range 3 { // the first goes alone, the others gather behind it
		ctx, span := tp.Tracer("test").Start(context.Background(), "caller")
		traces = append(traces, span.SpanContext().TraceID())
		p := &oneProduce{queued: make(chan struct{})}
		streams.Go(func() {
			if err := s.ProduceStream(ctx, p); err != nil {
				t.Error(err)
			}
		})
		<-p.queued
		if i == 0 {
			<-alone
		}
	}
	close(gate)
	streams.Wait()

	appends := kept.GetSpans()
	if len(appends) != 2 {
		t.Fatalf("%d appends, want 2: one alone, one shared", len(appends))
	}
	first, shared := appends[0], appends[1]
	if first.SpanContext.TraceID() != traces[0] || len(first.Links) != 0 {
		t.Errorf("the first is in trace %s with links %v", first.SpanContext.TraceID(), first.Links)
	}
	if shared.SpanContext.TraceID() != traces[1] || len(shared.Links) != 1 || shared.Links[0].SpanContext.TraceID() != traces[2] {
		t.Errorf("the second is in trace %s with links %v, the callers in %s", shared.SpanContext.TraceID(), shared.Links, traces)
	}
}
