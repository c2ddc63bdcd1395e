package quota

import (
	"sync"
	"time"
)

// Kafka's window: a rate is over the last eleven samples of a second each
// (quota.window.num, quota.window.size.seconds).
const (
	samples    = 11
	sampleSize = time.Second
)

// meter counts what one entity used of one thing.
type meter struct {
	buckets [samples]float64
	newest  int64 // number of the newest bucket, in samples since 1970
	first   int64 // number of the first bucket that was used
}

// advance drops what lies too far back.
func (m *meter) advance(now time.Time) {
	at := now.UnixNano() / int64(sampleSize)
	if m.first == 0 || at-m.newest >= samples {
		*m = meter{newest: at, first: at}
		return
	}
	for m.newest < at {
		m.newest++
		m.buckets[m.newest%samples] = 0
	}
}

func (m *meter) total() (sum float64) {
	for _, b := range m.buckets {
		sum += b
	}
	return sum
}

// window is the time that total is over: at least that of all samples but one,
// so that a burst at the start is no violation yet.
func (m *meter) window(now time.Time) time.Duration {
	oldest := max(m.first, m.newest-samples+1)
	elapsed := time.Duration(now.UnixNano() - oldest*int64(sampleSize))
	return max(elapsed, (samples-1)*sampleSize)
}

// over is how long one must wait for the rate to be within the limit again, 0
// where it is.
func (m *meter) over(now time.Time, limit float64) time.Duration {
	m.advance(now)
	return max(time.Duration(m.total()/limit*float64(time.Second))-m.window(now), 0)
}

func (m *meter) add(now time.Time, n float64) {
	m.advance(now)
	m.buckets[m.newest%samples] += n
}

// maxMeters bounds what clients that rotate their ids can make a gateway keep.
const maxMeters = 20_000

// Book keeps the meters of one gateway. It is safe for concurrent use.
type Book struct {
	mu     sync.Mutex
	meters map[string]*meter
}

// NewBook returns a book without entries.
func NewBook() *Book { return &Book{meters: map[string]*meter{}} }

// Use counts n of a thing that a client used, and returns how long it must be
// kept waiting for that.
func (b *Book) Use(r *Rules, now time.Time, key, user, client string, n float64) time.Duration {
	limit, whom, found := r.limit(key, user, client)
	if !found {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.meter(now, whom)
	m.add(now, n)
	return m.over(now, limit)
}

// Take is Use for what can be refused: where the client is over its limit
// already it counts nothing, and tells for how long to refuse.
func (b *Book) Take(r *Rules, now time.Time, key, user, client string, n float64) (wait time.Duration, taken bool) {
	limit, whom, found := r.limit(key, user, client)
	if !found {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(now, whom, limit, n)
}

// Connect is Take for a new connection from an address.
func (b *Book) Connect(r *Rules, now time.Time, ip string) (taken bool) {
	limit, whom, found := r.limitIP(ip)
	if !found {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, taken = b.take(now, whom, limit, 1)
	return taken
}

func (b *Book) take(now time.Time, whom string, limit, n float64) (time.Duration, bool) {
	m := b.meter(now, whom)
	if wait := m.over(now, limit); wait > 0 {
		return wait, false
	}
	m.add(now, n)
	return 0, true
}

// meter finds or makes the meter of an entity.
func (b *Book) meter(now time.Time, whom string) *meter {
	if m := b.meters[whom]; m != nil {
		return m
	}
	if len(b.meters) >= maxMeters {
		b.forget(now)
	}
	m := &meter{}
	b.meters[whom] = m
	return m
}

// forget drops the meters that nobody moved within their window, and all where
// that is not enough: then some clients begin anew.
func (b *Book) forget(now time.Time) {
	for whom, m := range b.meters {
		if now.UnixNano()/int64(sampleSize)-m.newest >= samples {
			delete(b.meters, whom)
		}
	}
	if len(b.meters) >= maxMeters {
		clear(b.meters)
	}
}
