package bench

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	mega = 1e6
	giga = 1e9
)

// Report is what came of a run. MB are 10⁶ and GB 10⁹ bytes of records.
type Report struct {
	Verb    string  `json:"verb"`
	Machine Machine `json:"machine"`
	Load    Load    `json:"load"`

	Seconds       float64 `json:"seconds"` // the window
	Records       int64   `json:"records"`
	RecordsPerSec float64 `json:"records_per_second"`
	MBPerSec      float64 `json:"mb_per_second"`

	// From when a record was due to its answer, to its reader, and to its send.
	// Without a rate a record is due when there is room for it.
	Ack      *Quantiles `json:"ack,omitempty"`
	EndToEnd *Quantiles `json:"end_to_end,omitempty"`
	Lateness *Quantiles `json:"lateness_of_the_loader,omitempty"`

	Client  Usage     `json:"client"`
	Servers *Usage    `json:"servers,omitempty"`
	Parts   []Ceiling `json:"ceilings,omitempty"`
	Against *Against  `json:"against_the_ceilings,omitempty"`

	mu    sync.Mutex
	Notes []string `json:"notes,omitempty"`
}

// Load is what was asked for.
type Load struct {
	Topic       string  `json:"topic,omitempty"`
	Partitions  int32   `json:"partitions"`
	Replicas    int32   `json:"replicas,omitempty"`
	Durability  string  `json:"durability,omitempty"`
	RecordBytes int     `json:"record_bytes"`
	BatchBytes  int     `json:"batch_bytes"`
	InFlight    int     `json:"in_flight"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"records_per_second,omitempty"`
	Acks        string  `json:"acks"`
	Via         string  `json:"via"`
}

func newReport(verb string, cfg Config) *Report {
	r := &Report{Verb: verb, Machine: thisMachine(), Load: Load{
		Topic: cfg.Topic, Partitions: cfg.Partitions, Replicas: cfg.Replicas, Durability: cfg.Durability, RecordBytes: cfg.RecordBytes, BatchBytes: cfg.BatchBytes,
		InFlight: cfg.InFlight, Connections: cfg.Connections, Rate: cfg.Rate, Via: cfg.Via,
		Acks: strings.ToLower(strings.TrimPrefix(cfg.Acks.String(), "ACKS_")),
	}}
	return r
}

// note tells something once.
func (r *Report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.Notes {
		if n == text {
			return
		}
	}
	r.Notes = append(r.Notes, text)
}

// fill takes what the meter and the watch saw.
func (r *Report) fill(m *meter, used usage) {
	records, bytes, took := m.total()
	r.Records, r.Seconds = records, took.Seconds()
	if took > 0 {
		r.RecordsPerSec, r.MBPerSec = float64(records)/took.Seconds(), float64(bytes)/mega/took.Seconds()
	}
	r.Ack, r.EndToEnd, r.Lateness = m.latency.sum(), m.endToEnd.sum(), m.lateness.sum()
	r.Client = usageOf(used.client, bytes)
	if used.servers != nil {
		s := usageOf(*used.servers, bytes)
		r.Servers = &s
	}
}

func usageOf(s spent, bytes int64) Usage {
	u := Usage{Processes: s.processes, CPUSeconds: s.cpu, ResidentBytes: s.resident}
	if bytes > 0 {
		u.CPUPerGB = s.cpu / (float64(bytes) / giga)
	}
	return u
}

// Rows shows the report as a table of two columns.
func (r *Report) Rows() [][]string {
	rows := [][]string{
		{"window", (time.Duration(r.Seconds * float64(time.Second))).Round(time.Millisecond).String()},
		{"records", strconv.FormatInt(r.Records, 10)},
		{"records/s", number(r.RecordsPerSec)},
		{"MB/s", number(r.MBPerSec)},
	}
	for _, l := range []struct {
		name    string
		latency *Quantiles
	}{{"ack", r.Ack}, {"end to end", r.EndToEnd}, {"loader late", r.Lateness}} {
		if l.latency != nil {
			rows = append(rows, []string{l.name, l.latency.String()})
		}
	}
	rows = append(rows, []string{"client", r.Client.String()})
	if r.Servers != nil {
		rows = append(rows, []string{"servers", r.Servers.String()})
	}
	for _, c := range r.Parts {
		rows = append(rows, []string{"ceiling: " + c.Name, c.String()})
	}
	if r.Against != nil {
		rows = append(rows, r.Against.rows()...)
	}
	m := r.Machine
	rows = append(rows, []string{"machine", fmt.Sprintf("%d × %s, Linux %s, %s, %s, load %s", m.Processors, m.Processor, m.Kernel, m.CongestionControl, m.Go, m.Load)})
	for _, n := range r.Notes {
		rows = append(rows, []string{"note", n})
	}
	return rows
}

// String shows milliseconds.
func (l *Quantiles) String() string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s ms", number(l.P50), number(l.P90), number(l.P99), number(l.P999), number(l.Max))
}

// String shows CPU and memory.
func (u Usage) String() string {
	return fmt.Sprintf("%s CPU-s/GB, %s CPU-s, %s MiB resident", number(u.CPUPerGB), number(u.CPUSeconds), number(float64(u.ResidentBytes)/(1<<20)))
}

// number shows three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}
