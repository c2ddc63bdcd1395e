// Package store keeps the cluster's truth: keys and values that change only by
// fenced transactions. It knows nothing of topics or nodes; controller decides
// the layout. Below it are Consul, bbolt and memory.
//
// Invariant: a transaction applies wholly or not at all, and only while the
// lease that it was fenced with is the newest (C3).
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of one transaction, Consul's with room to spare.
const (
	MaxOps   = 58 // 60 less the two checks of the fence; a DeleteCAS counts as two
	MaxBytes = 256 << 10
)

// Errors of a store. Test with errors.Is.
var (
	// ErrUnknown: the transaction may or may not have been applied, or may
	// still be. Read the keys to find out (C4).
	ErrUnknown = errors.New("store: outcome unknown")
	// ErrConflict: a check or cas failed and nothing was applied. The error is
	// a *ConflictError.
	ErrConflict = errors.New("store: conflict")
	// ErrDeposed: the fence is of a lost lease and nothing was applied (C6).
	ErrDeposed = errors.New("store: deposed")
	// ErrLocked: another process has the embedded store open.
	ErrLocked = errors.New("store: in use by another process")
	// ErrTooLarge: more than MaxOps or MaxBytes; nothing was applied.
	ErrTooLarge = errors.New("store: transaction too large")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
	// ErrDamaged: stored bytes are not what was written. The error is a
	// *DamagedError.
	ErrDamaged = errors.New("store: damaged")
)

// Store is a consistent key-value store with elections. Safe for concurrent
// use. Slices that it returns belong to the caller; slices given to it may be
// reused once the call returned.
type Store interface {
	// List returns the pairs under prefix, by key, as of one moment, and
	// linearizable: it sees each Commit that returned before.
	List(ctx context.Context, prefix string) ([]Pair, error)
	// Commit applies ops atomically if fence holds and each check holds, and
	// returns the index that the written keys now have. When it returns nil
	// the change is durable. Keys of one transaction must differ.
	Commit(ctx context.Context, fence Fence, ops []Op) (index int64, err error)
	// Watch returns once something under prefix may have changed since index
	// after, with the index to pass next. It is level-triggered: it may return
	// without a change, and one return may stand for many.
	Watch(ctx context.Context, prefix string, after int64) (index int64, err error)
	// Elect waits until this candidate holds the lease, or until ctx is done.
	// Candidate is where other candidates reach it.
	Elect(ctx context.Context, candidate string) (Lease, error)
	// Holder tells who holds the lease; nobody is the zero Holder.
	Holder(ctx context.Context) (Holder, error)
	// Depose ends the lease of h, if h holds it still: a standby's answer to a
	// holder that gives no sign of life (C7). Safe at any time, for each Commit
	// proves its fence (C3).
	Depose(ctx context.Context, h Holder) error
	// Close ends all leases.
	Close() error
}

// Pair is one stored key. Index grows with each write of the key and is never 0.
type Pair struct {
	Key   string
	Value []byte
	Index int64
}

// Lease is one term of leadership.
type Lease interface {
	// Fence is what Commit takes; it holds while this lease is the newest.
	Fence() Fence
	// Epoch is the term's number: higher than of each term before, for ever
	// (invariant 16).
	Epoch() int64
	// Lost is closed when the lease is known to be gone.
	Lost() <-chan struct{}
	// HeldWithin tells whether the store said within the last d that this lease
	// was the newest. What must never be done by a former holder, and is no
	// Commit, asks this first.
	HeldWithin(d time.Duration) bool
	// Release gives the lease up, so that the next candidate need not wait.
	Release(ctx context.Context) error
}

// Fence names a term. The zero Fence never holds.
type Fence struct {
	Session string // random
	Epoch   int64
}

// Holder is a candidate and the term that it was elected for.
type Holder struct {
	Candidate string
	Fence     Fence
}

// Kind says what an Op does.
type Kind int

// The kinds of Op.
const (
	// Set writes Value whatever is there.
	Set Kind = iota
	// CAS writes Value if the key is at Index; 0 means that there is no key.
	CAS
	// Delete removes the key, if it is there.
	Delete
	// DeleteCAS removes the key if it is at Index.
	DeleteCAS
	// Check demands that the key is at Index; 0 means that there is no key.
	Check
)

// Op is one step of a transaction.
type Op struct {
	Kind  Kind
	Key   string
	Value []byte
	Index int64
}

// ConflictError tells which key was not at the index that was asked for.
type ConflictError struct {
	Key       string
	Want, Got int64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("store: key %s is at index %d, not %d", e.Key, e.Got, e.Want)
}

// Is matches ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// DamagedError tells which stored value cannot be trusted. Only an operator
// can repair it: nothing is guessed and nothing is deleted.
type DamagedError struct {
	Key   string
	Cause error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("store: value of %s is damaged, restore it from a backup: %v", e.Key, e.Cause)
}

// Is matches ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }

// weight is how much op counts towards MaxOps.
func weight(op Op) int {
	if op.Kind == DeleteCAS { // Consul's own verb lets a missing key pass
		return 2
	}
	return 1
}

func size(op Op) int { return len(op.Key) + len(op.Value) }

// checkSize checks the limits of a transaction.
func checkSize(ops []Op) error {
	count, bytes := 0, 0
	for _, op := range ops {
		count += weight(op)
		bytes += size(op)
	}
	if count > MaxOps || bytes > MaxBytes {
		return fmt.Errorf("%w: %d ops of %d bytes", ErrTooLarge, count, bytes)
	}
	return nil
}

// Split cuts ops, in their order, into as few transactions as the limits allow.
func Split(ops []Op) [][]Op {
	var parts [][]Op
	begin, count, bytes := 0, 0, 0
	for i, op := range ops {
		if i > begin && (count+weight(op) > MaxOps || bytes+size(op) > MaxBytes) {
			parts = append(parts, ops[begin:i])
			begin, count, bytes = i, 0, 0
		}
		count += weight(op)
		bytes += size(op)
	}
	if begin < len(ops) {
		parts = append(parts, ops[begin:])
	}
	return parts
}

// checkOps compares what ops demand with the indexes that keys have.
func checkOps(ops []Op, indexOf func(key string) int64) error {
	for _, op := range ops {
		if op.Kind == Set || op.Kind == Delete {
			continue
		}
		if got := indexOf(op.Key); got != op.Index {
			return &ConflictError{Key: op.Key, Want: op.Index, Got: got}
		}
	}
	return nil
}
