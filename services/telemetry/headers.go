package telemetry

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// TraceparentKey is the key of the record header that names the trace in which
// a record was made (W3C Trace Context).
const TraceparentKey = "traceparent"

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Traceparent returns the header that names the trace of ctx to whoever reads
// the record, and whether there is one: a trace that nobody keeps is not worth
// a header in every record. Tracestate and baggage stay out of records, where
// they would be stored once for each.
func Traceparent(ctx context.Context) (Header, bool) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return Header{}, false
	}
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return Header{Key: TraceparentKey, Value: []byte(c.Get(TraceparentKey))}, true
}

// Extract returns ctx with the trace that a record's headers carry, if they
// carry one. What a consumer does with the record is a trace of its own that
// links to that one: trace.WithLinks(trace.LinkFromContext(Extract(ctx, headers))).
func Extract(ctx context.Context, headers []Header) context.Context {
	return Propagator().Extract(ctx, headerCarrier(headers))
}

// headerCarrier is a propagation.TextMapCarrier to read record headers by.
type headerCarrier []Header

// Get returns the last header of that key, as Kafka's lastHeader does.
func (c headerCarrier) Get(key string) string {
	for _, h := range slices.Backward(c) {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Set does nothing: a record that is read does not change.
func (c headerCarrier) Set(string, string) {}

func (c headerCarrier) Keys() []string {
	keys := make([]string, len(c))
	for i, h := range c {
		keys[i] = h.Key
	}
	return keys
}
