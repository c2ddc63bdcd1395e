package native

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/telemetry"
)

type metrics struct {
	openStreams *prometheus.GaugeVec
	batches     prometheus.Counter
	coalesced   prometheus.Counter
	retries     prometheus.Counter
	readRecords prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: "gateway", Name: name, Help: help}
	}
	m := &metrics{
		openStreams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: telemetry.Namespace, Subsystem: "gateway", Name: "open_streams", Help: "Streams that are open, by kind.",
		}, []string{"kind"}),
		batches:     prometheus.NewCounter(opts("appended_batches_total", "Batches that storage nodes took.")),
		coalesced:   prometheus.NewCounter(opts("coalesced_produces_total", "Produces that shared a batch with an earlier one.")),
		retries:     prometheus.NewCounter(opts("append_retries_total", "Appends that were tried again.")),
		readRecords: prometheus.NewCounter(opts("read_records_total", "Records given to readers.")),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.openStreams, m.batches, m.coalesced, m.retries, m.readRecords} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register gateway metrics: %w", err)
		}
	}
	return m, nil
}

// stream counts an open stream until the returned function is called.
func (m *metrics) stream(kind string) func() {
	g := m.openStreams.WithLabelValues(kind)
	g.Inc()
	return g.Dec
}
