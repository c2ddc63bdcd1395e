package markers

import (
	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/telemetry"
)

// Metrics are those of a Sender.
type Metrics struct {
	Pending prometheus.Gauge
	Retries prometheus.Counter
}

// NewMetrics returns metrics, registered with r unless it is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: telemetry.Namespace, Subsystem: "coordinator", Name: "completing_transactions",
			Help: "Transactions that are decided and whose markers are not all written.",
		}),
		Retries: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: "coordinator", Name: "marker_retries_total",
			Help: "Times that participants of a transaction had to be told again how it ended.",
		}),
	}
	if r != nil {
		r.MustRegister(m.Pending, m.Retries)
	}
	return m
}
