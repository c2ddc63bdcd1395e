package shard

import (
	"container/heap"
	"time"
)

// Timers are a machine's deadlines by key, each at most once. They are pure:
// equal calls give equal orders. The zero value is not ready; see NewTimers.
type Timers[K comparable] struct {
	byKey map[K]*deadline[K]
	heap  deadlines[K]
	seq   uint64
}

type deadline[K comparable] struct {
	key K
	at  time.Time
	seq uint64 // breaks ties in the order of setting
	pos int    // in the heap
}

// NewTimers returns no deadlines.
func NewTimers[K comparable]() *Timers[K] { return &Timers[K]{byKey: map[K]*deadline[K]{}} }

// Set makes key due at a time, in place of the time before.
func (t *Timers[K]) Set(key K, at time.Time) {
	t.seq++
	if d := t.byKey[key]; d != nil {
		d.at, d.seq = at, t.seq
		heap.Fix(&t.heap, d.pos)
		return
	}
	d := &deadline[K]{key: key, at: at, seq: t.seq}
	t.byKey[key] = d
	heap.Push(&t.heap, d)
}

// Cancel makes key not due; it may be called for one that is not.
func (t *Timers[K]) Cancel(key K) {
	if d := t.byKey[key]; d != nil {
		delete(t.byKey, key)
		heap.Remove(&t.heap, d.pos)
	}
}

// Has tells whether key is set.
func (t *Timers[K]) Has(key K) bool { return t.byKey[key] != nil }

// Due takes out the earliest key that is due at now.
func (t *Timers[K]) Due(now time.Time) (key K, ok bool) {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return key, false
	}
	d := heap.Pop(&t.heap).(*deadline[K])
	delete(t.byKey, d.key)
	return d.key, true
}

// Next is the earliest deadline, or the zero time.
func (t *Timers[K]) Next() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// Len is the number of keys that are set.
func (t *Timers[K]) Len() int { return len(t.heap) }

// deadlines is a heap.Interface.
type deadlines[K comparable] []*deadline[K]

func (h deadlines[K]) Len() int { return len(h) }

func (h deadlines[K]) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h deadlines[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *deadlines[K]) Push(x any) {
	d := x.(*deadline[K])
	d.pos = len(*h)
	*h = append(*h, d)
}

func (h *deadlines[K]) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
