package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is a Store that forgets everything when the process ends. It also
// stands in for a cluster-wide store in tests: many candidates may share one.
type Memory struct {
	election *election
	changes  *changes

	mu     sync.Mutex
	kv     map[string]Pair
	index  int64
	epoch  int64
	closed bool
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{election: newElection(), changes: newChanges(0), kv: map[string]Pair{}}
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]Pair, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	var pairs []Pair
	for _, key := range slices.Sorted(maps.Keys(m.kv)) {
		if strings.HasPrefix(key, prefix) {
			p := m.kv[key]
			p.Value = slices.Clone(p.Value)
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

// Commit implements Store.
func (m *Memory) Commit(ctx context.Context, fence Fence, ops []Op) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := checkSize(ops); err != nil {
		return 0, err
	}
	return m.election.guard(fence, func() (int64, error) { return m.commit(ops) })
}

func (m *Memory) commit(ops []Op) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	if err := checkOps(ops, func(key string) int64 { return m.kv[key].Index }); err != nil {
		return 0, err
	}
	m.index++
	for _, op := range ops {
		switch op.Kind {
		case Set, CAS:
			m.kv[op.Key] = Pair{Key: op.Key, Value: slices.Clone(op.Value), Index: m.index}
		case Delete, DeleteCAS:
			delete(m.kv, op.Key)
		}
	}
	m.changes.announce(m.index)
	return m.index, nil
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context, _ string, after int64) (int64, error) {
	return m.changes.wait(ctx, after, m.election.closed)
}

// Elect implements Store.
func (m *Memory) Elect(ctx context.Context, candidate string) (Lease, error) {
	return m.election.elect(ctx, candidate, func() (int64, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.epoch++
		return m.epoch, nil
	})
}

// Holder implements Store.
func (m *Memory) Holder(ctx context.Context) (Holder, error) { return m.election.holder(ctx) }

// Depose implements Store.
func (m *Memory) Depose(ctx context.Context, h Holder) error { return m.election.depose(ctx, h) }

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	was := m.closed
	m.closed = true
	m.mu.Unlock()
	if !was {
		m.election.close()
	}
	return nil
}
