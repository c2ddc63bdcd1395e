package storagenode

import (
	"math"
	"sync"
)

// waiter is someone who waits for partitions to move: an append for the high
// watermark to pass its batch, a fetch for bytes. One waiter may be on the
// lists of many partitions.
type waiter struct{ poke chan struct{} }

func newWaiter() *waiter { return &waiter{poke: make(chan struct{}, 1)} }

// waitList is who waits for one partition. The zero value is empty.
type waitList struct {
	mu sync.Mutex
	// wants holds the high watermark from which on each waiter is to be woken.
	wants map[*waiter]int64
}

// add puts w on the list, to be woken once the high watermark is at least want.
// Look at the high watermark after add, so that no move is missed.
func (l *waitList) add(w *waiter, want int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wants == nil {
		l.wants = make(map[*waiter]int64)
	}
	l.wants[w] = want
}

func (l *waitList) remove(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.wants, w)
}

// wake pokes those who want no more than the high watermark hw.
func (l *waitList) wake(hw int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w, want := range l.wants {
		if want <= hw {
			select {
			case w.poke <- struct{}{}:
			default: // poked already
			}
		}
	}
}

// wakeAll pokes everybody, to see that the partition has changed.
func (l *waitList) wakeAll() { l.wake(math.MaxInt64) }
