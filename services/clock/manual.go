package clock

import (
	"slices"
	"sync"
	"time"
)

// Manual is a clock that stands still until Advance moves it. It is safe for
// concurrent use.
type Manual struct {
	mu      sync.Mutex
	now     time.Time
	pending []*manualTimer // sorted by (when, seq)
	seq     uint64
}

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *Manual { return &Manual{now: start} }

// Now returns the time the clock stands at.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Since returns Now() - t.
func (m *Manual) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// NewTimer returns a timer that fires when Advance reaches it.
func (m *Manual) NewTimer(d time.Duration) Timer {
	return m.add(d, &manualTimer{clock: m, ch: make(chan time.Time, 1)})
}

// AfterFunc calls f when Advance reaches it, on the goroutine that advances:
// once Advance returns, f has returned, which keeps tests free of waiting.
func (m *Manual) AfterFunc(d time.Duration, f func()) Timer {
	return m.add(d, &manualTimer{clock: m, f: f})
}

// Advance moves the clock by d and fires, in order of their time, all timers
// that fall due, those set by the functions it calls included.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	end := m.now.Add(d)
	m.mu.Unlock()
	for m.fireNext(end) {
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if end.After(m.now) {
		m.now = end
	}
}

// Pending returns the number of timers that wait, for tests that must know a
// goroutine has come to rest.
func (m *Manual) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pending)
}

func (m *Manual) add(d time.Duration, t *manualTimer) Timer {
	m.mu.Lock()
	due := m.schedule(t, d)
	m.mu.Unlock()
	if due {
		t.fire(m.Now())
	}
	return t
}

// schedule enters t; the caller holds mu. It reports true, entering nothing,
// if t is due at once and has a channel. A due function waits for Advance, as
// running it here would run it under its caller's locks.
func (m *Manual) schedule(t *manualTimer, d time.Duration) (due bool) {
	t.when = m.now.Add(max(d, 0))
	if d <= 0 && t.f == nil {
		return true
	}
	m.seq++
	t.seq = m.seq
	at, _ := slices.BinarySearchFunc(m.pending, t, byTime)
	m.pending = slices.Insert(m.pending, at, t)
	return false
}

func (m *Manual) fireNext(end time.Time) bool {
	m.mu.Lock()
	if len(m.pending) == 0 || m.pending[0].when.After(end) {
		m.mu.Unlock()
		return false
	}
	t := m.pending[0]
	m.pending = slices.Delete(m.pending, 0, 1)
	if t.when.After(m.now) {
		m.now = t.when
	}
	now := m.now
	m.mu.Unlock()
	t.fire(now)
	return true
}

func (m *Manual) remove(t *manualTimer) bool {
	at := slices.Index(m.pending, t)
	if at < 0 {
		return false
	}
	m.pending = slices.Delete(m.pending, at, at+1)
	return true
}

func byTime(a, b *manualTimer) int {
	if c := a.when.Compare(b.when); c != 0 {
		return c
	}
	if a.seq < b.seq {
		return -1
	}
	return 1
}

type manualTimer struct {
	clock *Manual
	ch    chan time.Time
	f     func()

	when time.Time // guarded by clock.mu
	seq  uint64    // guarded by clock.mu; breaks ties in order of setting
}

func (t *manualTimer) C() <-chan time.Time { return t.ch }

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.drain()
	return t.clock.remove(t)
}

func (t *manualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	active := t.clock.remove(t)
	t.drain()
	due := t.clock.schedule(t, d)
	now := t.clock.now
	t.clock.mu.Unlock()
	if due {
		t.fire(now)
	}
	return active
}

func (t *manualTimer) drain() {
	select {
	case <-t.ch:
	default:
	}
}

func (t *manualTimer) fire(now time.Time) {
	if t.f != nil {
		t.f()
		return
	}
	select {
	case t.ch <- now:
	default:
	}
}
