package bench

import (
	"sync"
	"time"
)

// meter counts what is answered within a window of time.
type meter struct {
	from, to time.Time // a zero to is open
	limited  bool      // by a total of bytes: the window ends with the last answer
	latency  *histogram
	lateness *histogram // of our own sends
	endToEnd *histogram

	mu      sync.Mutex
	records int64
	bytes   int64
	last    time.Time // of the last answer that counts
}

func newMeter(from time.Time, d time.Duration, limited bool) *meter {
	m := &meter{from: from, limited: limited, latency: newHistogram(), lateness: newHistogram(), endToEnd: newHistogram()}
	if d > 0 {
		m.to = from.Add(d)
	}
	return m
}

// over tells whether the window has closed.
func (m *meter) over(now time.Time) bool { return !m.to.IsZero() && !now.Before(m.to) }

// sent notes how late a send was.
func (m *meter) sent(due, now time.Time) {
	if !due.Before(m.from) {
		m.lateness.record(now.Sub(due))
	}
}

// arrived counts records that are there now; it belongs to the window by the
// time of its arrival, a latency by the time at which it was due.
func (m *meter) arrived(due, now time.Time, records int, bytes int64) {
	if !due.Before(m.from) && !m.over(due) {
		m.latency.record(now.Sub(due))
	}
	m.count(now, records, bytes)
}

// reached notes that a reader has a record.
func (m *meter) reached(due, now time.Time) {
	if !due.Before(m.from) && !m.over(due) {
		m.endToEnd.record(now.Sub(due))
	}
}

func (m *meter) count(now time.Time, records int, bytes int64) {
	if now.Before(m.from) || m.over(now) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records, m.bytes = m.records+int64(records), m.bytes+bytes
	if now.After(m.last) {
		m.last = now
	}
}

// total returns what the window holds and how long it was.
func (m *meter) total() (records, bytes int64, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.to
	if end.IsZero() || m.limited {
		end = m.last
	}
	return m.records, m.bytes, max(end.Sub(m.from), 0)
}
