package transport

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
)

// Calls counts and times the calls that a process serves, whatever protocol
// they come by, so that one query covers every door. Its labels are few: the
// protocols, the RPCs that are served, and the reasons of errcode.
type Calls struct {
	clk     clock.Clock
	seconds *prometheus.HistogramVec
	ended   *prometheus.CounterVec
}

// ok is the reason of a call that did not fail.
const ok = "OK"

// NewCalls registers the metrics of calls with r, or finds those that another
// listener of the process has registered there.
func NewCalls(r prometheus.Registerer, clk clock.Clock) *Calls {
	return &Calls{
		clk: clk,
		seconds: register(r, prometheus.NewHistogramVec(telemetry.NativeHistogram("rpc", "seconds",
			"Time from the start of a call to its end; of a stream, how long it was open."), []string{"protocol", "rpc"})),
		ended: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: "rpc", Name: "ended_total",
			Help: "Calls that ended, by the reason of their error, OK without one.",
		}, []string{"protocol", "rpc", "reason"})),
	}
}

// Begin tells of a call. The function returned is called once: with the
// procedure, /package.Service/Method, as some protocols find it late, and the
// call's error. A nil Calls counts nothing.
func (c *Calls) Begin(protocol string) (end func(procedure string, err error)) {
	if c == nil {
		return func(string, error) {}
	}
	start := c.clk.Now()
	return func(procedure string, err error) {
		rpc, reason := strings.TrimPrefix(procedure, "/"), ok
		if err != nil {
			reason = string(errcode.ReasonOf(err))
		}
		c.seconds.WithLabelValues(protocol, rpc).Observe(c.clk.Since(start).Seconds())
		c.ended.WithLabelValues(protocol, rpc, reason).Inc()
	}
}

func (c *Calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	end := c.Begin("grpc")
	resp, err := next(ctx, req)
	end(info.FullMethod, err)
	return resp, err
}

func (c *Calls) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	end := c.Begin("grpc")
	err := next(srv, ss)
	end(info.FullMethod, err)
	return err
}

// clientHistogram makes a histogram's buckets grow by 1.1, without fixed ones.
func clientHistogram() *prometheus.HistogramOpts {
	return &prometheus.HistogramOpts{
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 160,
	}
}
