package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"moldau.dev/services/test/testcluster"
)

// ledger is what the members of one group hold, get and commit, as they say.
//
// A record may come twice only while it is not committed: what comes after a
// commit that was answered, and lies before it, is a fault.
type ledger struct {
	mu        sync.Mutex
	changed   chan struct{}
	held      map[string]map[int32]bool // by member
	committed map[int32]int64
	seen      map[int32]map[int64]bool
	faults    []string
}

func newLedger() *ledger {
	return &ledger{changed: make(chan struct{}), held: map[string]map[int32]bool{}, committed: map[int32]int64{}, seen: map[int32]map[int64]bool{}}
}

func (l *ledger) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) fault(format string, args ...any) {
	l.change(func() { l.faults = append(l.faults, fmt.Sprintf(format, args...)) })
}

// holds says all that a member holds.
func (l *ledger) holds(member string, partitions []int32) {
	l.change(func() {
		l.held[member] = map[int32]bool{}
		for _, p := range partitions {
			l.held[member][p] = true
		}
	})
}

func (l *ledger) gets(member string, partitions []int32) {
	l.change(func() {
		if l.held[member] == nil {
			l.held[member] = map[int32]bool{}
		}
		for _, p := range partitions {
			l.held[member][p] = true
		}
	})
}

func (l *ledger) loses(member string, partitions []int32) {
	l.change(func() {
		for _, p := range partitions {
			delete(l.held[member], p)
		}
	})
}

func (l *ledger) gone(member string) { l.change(func() { delete(l.held, member) }) }

// takes is a record that came to a member.
func (l *ledger) takes(member string, partition int32, offset int64) {
	l.change(func() {
		if offset < l.committed[partition] {
			l.faults = append(l.faults, fmt.Sprintf("%s got %d@%d, which is committed up to %d", member, partition, offset, l.committed[partition]))
		}
		if l.seen[partition] == nil {
			l.seen[partition] = map[int64]bool{}
		}
		l.seen[partition][offset] = true
	})
}

// commits is a commit that was answered.
func (l *ledger) commits(partition int32, next int64) {
	l.change(func() { l.committed[partition] = max(l.committed[partition], next) })
}

// until waits until f holds, under the lock, or something went wrong.
func (l *ledger) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx := testcluster.Context(t)
	for {
		l.mu.Lock()
		done, faults, changed := f(), l.faults, l.changed
		state := l.String()
		l.mu.Unlock()
		switch {
		case len(faults) > 0:
			t.Fatalf("%q", faults)
		case done:
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s: %s", what, state)
		}
	}
}

// String is for people.
func (l *ledger) String() string {
	var seen []string
	for p, offsets := range l.seen {
		seen = append(seen, fmt.Sprintf("%d of %d", len(offsets), p))
	}
	return fmt.Sprintf("held %v, committed %v, records %v", l.held, l.committed, seen)
}

// shares tells whether each of n members holds as much as the others, and no
// two the same.
func (l *ledger) shares(members, partitions int) bool {
	owners := map[int32]int{}
	for _, held := range l.held {
		if len(held) != partitions/members {
			return false
		}
		for p := range held {
			owners[p]++
		}
	}
	return len(l.held) == members && len(owners) == partitions
}

// process is a member that runs until it is stopped, or killed.
type process struct {
	name string
	stop context.CancelFunc // ends it; how politely is its own matter
	done chan struct{}
}

func (p *process) end() {
	p.stop()
	<-p.done
}
