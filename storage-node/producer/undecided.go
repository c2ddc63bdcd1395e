package producer

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// Undecided are the transactions that committed reads may not pass: those that
// are open, and those whose marker is not below the high watermark yet, since
// another leader may not have it (T12). It is safe for concurrent use: the high
// watermark moves beside appends.
type Undecided struct {
	mu sync.Mutex
	// txns are in the order of their start, as the log is: a transaction that
	// begins is the last one.
	txns []txn
}

// txn is one transaction: its first offset and that of its marker, or -1.
type txn struct{ start, marker int64 }

// First returns the first offset that is not decided where the high watermark
// is hw, or 2^63-1. Those decided below hw are forgotten; a later call must not
// have a lower hw by more than calls at the same time do.
func (u *Undecided) First(hw int64) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.txns) == 0 {
		return math.MaxInt64
	}
	u.txns = slices.DeleteFunc(u.txns, func(t txn) bool { return t.marker != none && t.marker < hw })
	if len(u.txns) == 0 {
		return math.MaxInt64
	}
	return u.txns[0].start
}

// begin notes that a transaction starts, unless that is known.
func (u *Undecided) begin(start int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i, known := u.find(start); !known {
		u.txns = slices.Insert(u.txns, i, txn{start, none})
	}
}

func (u *Undecided) cancel(start int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i, known := u.find(start); known {
		u.txns = slices.Delete(u.txns, i, i+1)
	}
}

func (u *Undecided) end(start, marker int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i, known := u.find(start); known {
		u.txns[i].marker = marker
	}
}

func (u *Undecided) find(start int64) (int, bool) {
	return slices.BinarySearchFunc(u.txns, start, func(t txn, at int64) int { return cmp.Compare(t.start, at) })
}

// ended returns the transactions that have a marker.
func (u *Undecided) ended() []txn {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.txns), func(t txn) bool { return t.marker == none })
}
