package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// meter counts what happens within the window.
type meter struct {
	cfg      config
	from, to time.Time
	records  atomic.Int64
	bytes    atomic.Int64

	mu         sync.Mutex
	acks, late *hdrhistogram.Histogram // microseconds

	serverCPU, clientCPU float64
	serverBytes          int64
}

const (
	longestMicros = int64(10 * time.Minute / time.Microsecond)
	digits        = 3
)

func newMeter(cfg config) *meter {
	from := time.Now().Add(cfg.warmup)
	return &meter{
		cfg: cfg, from: from, to: from.Add(cfg.duration),
		acks: hdrhistogram.New(1, longestMicros, digits), late: hdrhistogram.New(1, longestMicros, digits),
	}
}

func (m *meter) open() bool {
	now := time.Now()
	return !now.Before(m.from) && now.Before(m.to)
}

func (m *meter) over() bool { return !time.Now().Before(m.to) }

func (m *meter) count(records, bytes int) {
	if m.open() {
		m.records.Add(int64(records))
		m.bytes.Add(int64(bytes))
	}
}

func (m *meter) ack(d time.Duration)      { m.note(m.acks, d) }
func (m *meter) lateness(d time.Duration) { m.note(m.late, d) }

func (m *meter) note(h *hdrhistogram.Histogram, d time.Duration) {
	if !m.open() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = h.RecordValue(min(max(d.Microseconds(), 1), longestMicros)) // within bounds
}

// watch notes what both sides used while the window was open.
func (m *meter) watch(ctx context.Context) error {
	if !sleepUntil(ctx, m.from) {
		return ctx.Err()
	}
	server, client, err := m.used()
	if err != nil {
		return err
	}
	if !sleepUntil(ctx, m.to) {
		return ctx.Err()
	}
	serverAfter, clientAfter, err := m.used()
	m.serverCPU, m.clientCPU = serverAfter-server, clientAfter-client
	return err
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// used returns the CPU seconds of the broker and of this process so far, and
// keeps the broker's resident memory.
func (m *meter) used() (server, client float64, err error) {
	m.serverBytes = 0
	for _, pid := range m.cfg.pids {
		cpu, resident, err := procOf(pid)
		if err != nil {
			return 0, 0, err
		}
		server, m.serverBytes = server+cpu, m.serverBytes+resident
	}
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0, 0, err
	}
	return server, time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds(), nil
}

const ticksPerSecond = 100 // USER_HZ

// procOf reads CPU seconds and resident bytes of a process (proc(5)).
func procOf(pid string) (cpu float64, resident int64, err error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const user, system, pages = 11, 12, 21 // counted from the state, which is field 3
	number := func(i int) int64 {
		n, e := strconv.ParseInt(fields[i], 10, 64)
		if e != nil {
			err = fmt.Errorf("process %s: %w", pid, e)
		}
		return n
	}
	return float64(number(user)+number(system)) / ticksPerSecond, number(pages) * int64(os.Getpagesize()), err
}

func (m *meter) report() *report {
	seconds, bytes := m.cfg.duration.Seconds(), float64(m.bytes.Load())
	r := &report{Seconds: seconds, Records: m.records.Load(), MBPerSec: bytes / seconds / 1e6}
	if len(m.cfg.pids) > 0 {
		r.ServerCPU, r.ServerMiB, r.ServerCPUs = m.serverCPU/bytes*1e9, float64(m.serverBytes)/(1<<20), m.serverCPU
	}
	r.ClientCPU = m.clientCPU / bytes * 1e9
	r.AckMs, r.LateMs = percentiles(m.acks), percentiles(m.late)
	return r
}

func percentiles(h *hdrhistogram.Histogram) map[string]float64 {
	if h.TotalCount() == 0 {
		return nil
	}
	out := map[string]float64{"max": float64(h.Max()) / 1000}
	for _, q := range []float64{50, 90, 99, 99.9} {
		out["p"+strconv.FormatFloat(q, 'f', -1, 64)] = float64(h.ValueAtQuantile(q)) / 1000
	}
	return out
}
