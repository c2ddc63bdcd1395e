package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	shortestLatency = time.Microsecond
	longestLatency  = 10 * time.Minute
	latencyDigits   = 3
)

// histogram keeps durations to three digits. It is safe for concurrent use.
type histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newHistogram() *histogram {
	return &histogram{h: hdrhistogram.New(int64(shortestLatency), int64(longestLatency), latencyDigits)}
}

// record takes what is out of bounds as the bound.
func (h *histogram) record(d time.Duration) {
	d = min(max(d, 0), longestLatency)
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.h.RecordValue(int64(d)) // only what is out of bounds fails
}

// Quantiles sum up a histogram; milliseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// sum returns nil where nothing was recorded.
func (h *histogram) sum() *Quantiles {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.h.TotalCount() == 0 {
		return nil
	}
	ms := func(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }
	at := func(q float64) float64 { return ms(h.h.ValueAtQuantile(q)) }
	return &Quantiles{Count: h.h.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(h.h.Max())}
}
