package storagenode

import (
	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
)

const subsystem = "storage"

// metrics are the node's own; those of single partitions are collected at
// scrape, by Collect.
type metrics struct {
	append, fetch, fsync, flushed            prometheus.Observer
	isrGrown, isrShrunk, replicated, lost    prometheus.Counter
	quarantined, scrubbed                    prometheus.Counter
	batchBytes, batchRecords                 prometheus.Observer
	bytesIn, recordsIn, bytesOut, recordsOut *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry() // nobody looks
	}
	histogram := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(telemetry.NativeHistogram(subsystem, name, help))
		r.MustRegister(h)
		return h
	}
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: subsystem, Name: name, Help: help,
		}, []string{"topic"})
		r.MustRegister(c)
		return c
	}
	plain := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	return &metrics{
		isrGrown:     plain("isr_expands_total", "Replicas that joined the in-sync replicas of partitions led here."),
		isrShrunk:    plain("isr_shrinks_total", "Replicas that left the in-sync replicas of partitions led here."),
		replicated:   plain("replicated_bytes_total", "Bytes of batches written as a follower."),
		lost:         plain("committed_cut_total", "Cuts of a follower's log below its high watermark: an election with loss."),
		quarantined:  plain("quarantined_total", "Replicas that failed, were moved to quarantine and are copied again."),
		scrubbed:     plain("scrubbed_bytes_total", "Bytes that looks for damage have read."),
		append:       histogram("append_seconds", "Time from request to answer of an append."),
		fetch:        histogram("fetch_seconds", "Time from request to answer of a fetch, the wait for bytes included."),
		fsync:        histogram("fsync_seconds", "Time of one partition's fsync."),
		flushed:      histogram("flush_partitions", "Partitions made durable by one round of fsyncs."),
		batchBytes:   histogram("batch_bytes", "Bytes of an appended batch, as it is stored."),
		batchRecords: histogram("batch_records", "Records of an appended batch."),
		bytesIn:      counter("append_bytes_total", "Bytes of batches appended."),
		recordsIn:    counter("append_records_total", "Records appended."),
		bytesOut:     counter("fetch_bytes_total", "Bytes of batches read by fetches."),
		recordsOut:   counter("fetch_records_total", "Records in the batches read by fetches."),
	}
}

// topicCounters are one topic's, looked up once for each change of its role.
type topicCounters struct {
	bytesIn, recordsIn, bytesOut, recordsOut prometheus.Counter
	batchBytes, batchRecords                 prometheus.Observer // of all topics
}

func (m *metrics) topic(name string) topicCounters {
	return topicCounters{
		m.bytesIn.WithLabelValues(name), m.recordsIn.WithLabelValues(name),
		m.bytesOut.WithLabelValues(name), m.recordsOut.WithLabelValues(name),
		m.batchBytes, m.batchRecords,
	}
}

func (m *metrics) forget(topic string) {
	for _, c := range []*prometheus.CounterVec{m.bytesIn, m.recordsIn, m.bytesOut, m.recordsOut} {
		c.DeleteLabelValues(topic)
	}
}

func (c *topicCounters) appended(size, records int) {
	c.bytesIn.Add(float64(size))
	c.recordsIn.Add(float64(records))
	c.batchBytes.Observe(float64(size))
	c.batchRecords.Observe(float64(records))
}

// fetched counts whole batches.
func (c *topicCounters) sliced(bytes, offsets int64) {
	if bytes > 0 {
		c.bytesOut.Add(float64(bytes))
		c.recordsOut.Add(float64(offsets)) // nearly: compaction leaves gaps
	}
}

func (c *topicCounters) fetched(batches []byte) {
	if len(batches) == 0 {
		return
	}
	c.bytesOut.Add(float64(len(batches)))
	records := 0
	for {
		_, rest, h, err := record.Next(batches)
		if err != nil {
			break
		}
		batches, records = rest, records+int(h.Count)
	}
	c.recordsOut.Add(float64(records))
}

var (
	partitionLabels = []string{"topic", "partition"}
	descSize        = partitionDesc("log_size_bytes", "Bytes of the log on disk.")
	descStart       = partitionDesc("log_start_offset", "Earliest offset.")
	descEnd         = partitionDesc("log_end_offset", "First offset that is not in the log.")
	descFault       = partitionDesc("fault", "1 where the partition is out of service.")
)

func partitionDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(telemetry.Namespace, subsystem, name), help, partitionLabels, nil)
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSize, descStart, descEnd, descFault, descUnder, descUnderMin, descLag} {
		ch <- d
	}
}

// Collect implements prometheus.Collector: what is open is measured, what was
// not used yet is left alone.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	for _, p := range s.snapshot() {
		labels := []string{p.role.Load().topic, itoa(p.id.Index)}
		gauge := func(d *prometheus.Desc, v int64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
		if l := p.log.Load(); l != nil {
			gauge(descSize, l.Size())
			gauge(descStart, l.StartOffset())
			gauge(descEnd, l.EndOffset())
		}
		if p.fault.Load() != nil {
			gauge(descFault, 1)
		}
		p.collectLeader(ch, labels)
	}
}
