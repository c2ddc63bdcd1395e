package storetest

import (
	"context"
	"sync"

	"moldau.dev/metadata/store"
)

// Fault is what happens to one Commit.
type Fault int

// The faults.
const (
	None       Fault = iota
	LostBefore       // ErrUnknown, and nothing was applied
	LostAfter        // ErrUnknown, though it was applied
)

// Faulty is a Store whose commits can be made to lose their answers.
type Faulty struct {
	store.Store

	mu      sync.Mutex
	faults  []Fault
	commits int
}

// Wrap returns s with faults to come.
func Wrap(s store.Store) *Faulty { return &Faulty{Store: s} }

// Next sets what happens to the next commits, one each.
func (f *Faulty) Next(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Commits returns how many commits were tried.
func (f *Faulty) Commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commits
}

// Commit implements store.Store.
func (f *Faulty) Commit(ctx context.Context, fence store.Fence, ops []store.Op) (int64, error) {
	f.mu.Lock()
	f.commits++
	fault := None
	if len(f.faults) > 0 {
		fault, f.faults = f.faults[0], f.faults[1:]
	}
	f.mu.Unlock()
	if fault == LostBefore {
		return 0, store.ErrUnknown
	}
	index, err := f.Store.Commit(ctx, fence, ops)
	if fault == LostAfter && err == nil {
		return 0, store.ErrUnknown
	}
	return index, err
}
