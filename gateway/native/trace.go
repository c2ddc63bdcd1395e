package native

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
)

// tracing is the header that the records of one produce get, so that they carry
// the trace of the call; none where there is no trace to carry.
type tracing struct {
	header   record.RecordHeader
	size     int // that it adds to a record
	maxBatch int // a trace is no reason to refuse a record
}

// traceHeader returns nil where records get none.
func (s *Server) traceHeader(ctx context.Context, records []*moldauv1.Record, oneBatch bool, maxBatch int) *tracing {
	if s.tracer == nil {
		return nil
	}
	h, traced := telemetry.Traceparent(ctx)
	if !traced {
		return nil
	}
	t := &tracing{header: record.RecordHeader{Key: h.Key, Value: h.Value}, size: 2*maxVarint32 + len(h.Key) + len(h.Value), maxBatch: maxBatch}
	if oneBatch {
		whole := record.HeaderSize
		for _, r := range records {
			whole += messageSize(r) + t.size
		}
		if whole > maxBatch {
			return nil
		}
	}
	return t
}

// messageSize is what sizeOf says of the record that r becomes.
func messageSize(r *moldauv1.Record) int {
	n := recordOverhead + len(r.GetKey()) + len(r.GetValue())
	for _, h := range r.GetHeaders() {
		n += 2*maxVarint32 + len(h.GetKey()) + len(h.GetValue())
	}
	return n
}

// carry adds the header to r, unless r names a trace already: that is where
// its producer made it, which is nearer to it than the call. It returns the
// size of r.
func (t *tracing) carry(r *record.Record) int {
	size := sizeOf(r)
	if t == nil || record.HeaderSize+size+t.size > t.maxBatch || slices.ContainsFunc(r.Headers, t.named) {
		return size
	}
	r.Headers = append(r.Headers, t.header)
	return size + t.size
}

func (t *tracing) named(h record.RecordHeader) bool { return h.Key == t.header.Key }

// traced begins the span of one append: a child of the first produce in it
// that is traced, linked to the others. The function returned ends it.
func (l *lane) traced(ctx context.Context, group []*entry) (context.Context, func(error)) {
	if l.s.tracer == nil {
		return ctx, func(error) {}
	}
	var parent trace.SpanContext
	var links []trace.Link
	records := 0
	for _, e := range group {
		records += e.count
		sc := trace.SpanContextFromContext(e.ctx)
		switch {
		case sc.IsSampled() && parent.IsSampled():
			links = append(links, trace.Link{SpanContext: sc})
		case sc.IsSampled() || !parent.IsValid():
			parent = sc
		}
	}
	ctx, span := l.s.tracer.Start(trace.ContextWithSpanContext(ctx, parent), "append",
		trace.WithLinks(links...),
		trace.WithAttributes(
			attribute.String("moldau.topic.id", l.id.Topic.String()),
			attribute.Int("moldau.partition", int(l.id.Index)),
			attribute.Int("moldau.records", records),
			attribute.Int("moldau.produces", len(group)),
		))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, string(errcode.ReasonOf(err)))
		}
		span.End()
	}
}

// untraced returns ctx without its trace: the polls of a Read go on for days,
// each is a story of its own.
func untraced(ctx context.Context) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
}
