package storagenode

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/telemetry"
)

// What a leader shows of the others: of partitions without others nothing.
var (
	descUnder    = partitionDesc("under_replicated", "1 where the partition is led here and has fewer replicas in sync than replicas.")
	descUnderMin = partitionDesc("under_min_isr", "1 where the partition is led here and has too few replicas in sync to commit.")
	descLag      = prometheus.NewDesc(prometheus.BuildFQName(telemetry.Namespace, subsystem, "replica_lag_records"),
		"Offsets that a replica of a partition led here is behind; -1 where it was not heard of.", append(slices.Clone(partitionLabels), "replica"), nil)
)

// collectLeader measures the replicas of a partition that this node leads.
func (p *partition) collectLeader(ch chan<- prometheus.Metric, labels []string) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leader
	if l == nil || !p.role.Load().replicated() {
		return
	}
	lags := l.Lags()
	ch <- gaugeOf(descUnder, truth(len(l.ISR()) <= len(lags)), labels...)
	ch <- gaugeOf(descUnderMin, truth(l.UnderMinISR()), labels...)
	for _, lag := range lags {
		ch <- gaugeOf(descLag, float64(lag.Offsets), append(slices.Clone(labels), itoa(lag.Node))...)
	}
}

func gaugeOf(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
