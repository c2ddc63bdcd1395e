package telemetry

import (
	"context"
	"slices"
)

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Inject returns headers with the trace of ctx in them (traceparent,
// tracestate, baggage), in place of one that was there.
func Inject(ctx context.Context, headers []Header) []Header {
	c := headerCarrier{slices.Clone(headers)}
	Propagator().Inject(ctx, &c)
	return c.list
}

// Extract returns ctx with the trace that headers carry, if they carry one.
func Extract(ctx context.Context, headers []Header) context.Context {
	return Propagator().Extract(ctx, &headerCarrier{headers})
}

// headerCarrier is a propagation.TextMapCarrier over record headers.
type headerCarrier struct{ list []Header }

// Get returns the last header of that key, as Kafka's lastHeader does.
func (c *headerCarrier) Get(key string) string {
	for _, h := range slices.Backward(c.list) {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func (c *headerCarrier) Set(key, value string) {
	c.list = slices.DeleteFunc(c.list, func(h Header) bool { return h.Key == key })
	c.list = append(c.list, Header{key, []byte(value)})
}

func (c *headerCarrier) Keys() []string {
	keys := make([]string, len(c.list))
	for i, h := range c.list {
		keys[i] = h.Key
	}
	return keys
}
