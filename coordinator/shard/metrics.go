package shard

import (
	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/telemetry"
)

const subsystem = "coordinator"

// Metrics are those of all shards with one kind of machine.
type Metrics struct {
	Load, Append, AppendRecords prometheus.Observer
	Unloads                     prometheus.Counter
}

// NewMetrics returns the metrics of machines of a name, registered with r
// unless it is nil.
func NewMetrics(name string, r prometheus.Registerer) *Metrics {
	labels := prometheus.Labels{"machine": name}
	histogram := func(metric, help string) prometheus.Histogram {
		opts := telemetry.NativeHistogram(subsystem, metric, help)
		opts.ConstLabels = labels
		h := prometheus.NewHistogram(opts)
		if r != nil {
			r.MustRegister(h)
		}
		return h
	}
	unloads := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "unloads_total", ConstLabels: labels,
		Help: "Times that a journal was read anew because the outcome of an append was not known.",
	})
	if r != nil {
		r.MustRegister(unloads)
	}
	return &Metrics{
		Load:          histogram("load_seconds", "Time from owning a shard to serving it."),
		Append:        histogram("append_seconds", "Time of one append to a journal, its repetitions included."),
		AppendRecords: histogram("append_records", "Records in one append to a journal."),
		Unloads:       unloads,
	}
}
