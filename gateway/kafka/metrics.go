package kafka

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/telemetry"
)

type metrics struct {
	connections prometheus.Gauge
	refused     prometheus.Counter
	closed      *prometheus.CounterVec
	requests    *prometheus.HistogramVec
	sent        prometheus.Counter
	throttled   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: telemetry.Namespace, Subsystem: "kafka", Name: n, Help: help}
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts(name("connections", "Kafka clients that are connected."))),
		refused:     prometheus.NewCounter(prometheus.CounterOpts(name("refused_connections_total", "Connections beyond the limit."))),
		closed:      prometheus.NewCounterVec(prometheus.CounterOpts(name("closed_connections_total", "Connections that the gateway closed, by why.")), []string{"why"}),
		sent:        prometheus.NewCounter(prometheus.CounterOpts(name("sent_bytes_total", "Bytes of responses."))),
		throttled:   prometheus.NewCounter(prometheus.CounterOpts(name("throttled_seconds_total", "Time that clients were kept waiting by quotas."))),
		requests: prometheus.NewHistogramVec(telemetry.NativeHistogram("kafka", "request_seconds",
			"Time to serve a request, waiting included, by API."), []string{"api"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.refused, m.closed, m.sent, m.throttled, m.requests} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the Kafka door: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) served(api string, took time.Duration) {
	m.requests.WithLabelValues(api).Observe(took.Seconds())
}
