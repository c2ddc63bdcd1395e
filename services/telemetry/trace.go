package telemetry

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceConfig shapes tracing. What it leaves out, the standard OTEL_*
// environment variables say.
type TraceConfig struct {
	Enabled  bool    `koanf:"enabled"`
	Endpoint string  `koanf:"endpoint"` // host:port of an OTLP gRPC collector; empty: OTEL_EXPORTER_OTLP_ENDPOINT
	Insecure bool    `koanf:"insecure"` // plain text to the endpoint
	Sample   float64 `koanf:"sample"`   // share of traces begun here, 0 to 1; a caller's choice is kept
}

// DefaultTrace returns tracing switched off.
func DefaultTrace() TraceConfig { return TraceConfig{Sample: 0.01} }

// Validate checks the sample share.
func (c TraceConfig) Validate() error {
	if c.Sample < 0 || c.Sample > 1 {
		return fmt.Errorf("sample: %g lies outside 0 to 1", c.Sample)
	}
	return nil
}

// NewTracing returns the tracer provider of the process and the function that
// flushes and stops it. Switched off, the provider is nil, which every part
// takes for "no traces": nothing is started, sent or looked for in headers.
func NewTracing(ctx context.Context, c TraceConfig, service, instance string) (trace.TracerProvider, func(context.Context) error, error) {
	if !c.Enabled {
		return nil, func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracegrpc.New(ctx, c.exporterOptions()...)
	if err != nil {
		return nil, nil, fmt.Errorf("open OTLP exporter: %w", err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.instance.id", instance)))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("describe the process to traces: %w", err), exporter.Shutdown(ctx))
	}
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))),
	)
	return tp, tp.Shutdown, nil
}

func (c TraceConfig) exporterOptions() []otlptracegrpc.Option {
	var opts []otlptracegrpc.Option
	if c.Endpoint != "" {
		opts = append(opts, otlptracegrpc.WithEndpoint(c.Endpoint))
	}
	if c.Insecure {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	return opts
}

// Propagator returns how a trace travels with a call: W3C trace context and
// baggage.
func Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}
