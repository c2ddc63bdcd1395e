package telemetry_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"moldau.dev/services/telemetry"
)

// A consumer's work on a record is a trace of its own: it may come days after
// the produce, and many may read the record. A link leads back to the produce.
func ExampleExtract() {
	kept := tracetest.NewInMemoryExporter()
	tracer := trace.NewTracerProvider(trace.WithSyncer(kept)).Tracer("consumer")
	record := []telemetry.Header{{
		Key: telemetry.TraceparentKey, Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
	}}

	ctx := context.Background()
	made := telemetry.Extract(ctx, record)
	_, span := tracer.Start(ctx, "process orders",
		oteltrace.WithSpanKind(oteltrace.SpanKindConsumer),
		oteltrace.WithLinks(oteltrace.LinkFromContext(made)))
	span.End()

	fmt.Println(kept.GetSpans()[0].Links[0].SpanContext.TraceID())
	// Output: 0af7651916cd43dd8448eb211c80319c
}
