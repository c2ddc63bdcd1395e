//go:build consul

package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
	"moldau.dev/services/test/consultest"
)

const prefix = "moldau/"

func elect(t *testing.T, s store.Store) store.Lease {
	t.Helper()
	l, err := s.Elect(t.Context(), "candidate")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func put(key, value string) []store.Op {
	return []store.Op{{Kind: store.Set, Key: key, Value: []byte(value)}}
}

func commit(t *testing.T, s store.Store, l store.Lease, ops []store.Op) {
	t.Helper()
	if _, err := s.Commit(t.Context(), l.Fence(), ops); err != nil {
		t.Fatal(err)
	}
}

// all returns what s holds. A cluster without a leader is asked again.
func all(t *testing.T, s store.Store) string {
	t.Helper()
	for {
		pairs, err := s.List(t.Context(), "")
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		if err != nil {
			continue
		}
		var out []string
		for _, p := range pairs {
			out = append(out, p.Key+"="+string(p.Value))
		}
		return strings.Join(out, " ")
	}
}

// TestConsulsLeaderDies: a counter is raised by cas while the leader of three
// servers is killed and comes back. Whatever was answered is true, and whatever
// was not is found out by reading (C4).
func TestConsulsLeaderDies(t *testing.T) {
	agents := consultest.StartServers(t, 3)
	victim := consultest.Leader(t, agents)
	var survivor *consultest.Agent
	for _, a := range agents {
		if a != victim {
			survivor = a
		}
	}
	s := reach(t, survivor, prefix)
	l := elect(t, s)
	value, index, unknown := 0, int64(0), 0
	for round := 0; round < 400 || unknown == 0; round++ {
		if round == 100 {
			victim.Kill()
		}
		next := fmt.Sprint(value + 1)
		at, err := s.Commit(t.Context(), l.Fence(), []store.Op{{Kind: store.CAS, Key: "n", Value: []byte(next), Index: index}})
		switch {
		case err == nil:
			value, index = value+1, at
			continue
		case errors.Is(err, store.ErrDeposed):
			l = elect(t, s)
		case errors.Is(err, store.ErrUnknown):
			unknown++
		default:
			t.Fatalf("round %d: %v", round, err)
		}
		held := all(t, s)
		if held == "n="+next {
			value++
		} else if held != fmt.Sprintf("n=%d", value) {
			t.Fatalf("round %d: holds %q, raising %d", round, held, value)
		}
		pairs, err := s.List(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		index = pairs[0].Index
	}
	victim.Restart(t)
	if got := all(t, reach(t, victim, prefix)); got != fmt.Sprintf("n=%d", value) {
		t.Errorf("the old leader holds %q after %d", got, value)
	}
}

// TestPausedConsulLosesNothing: the lease is not counted on while Consul hangs,
// is lost before Consul would give it to another (C6), and its fence is dead
// afterwards.
func TestPausedConsulLosesNothing(t *testing.T) {
	agent := consultest.StartServers(t, 1)[0]
	s := reach(t, agent, prefix)
	l := elect(t, s)
	commit(t, s, l, put("a", "1"))
	agent.Pause(t)
	_, err := s.Commit(t.Context(), l.Fence(), put("a", "2"))
	if !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("an answer from a paused server: %v", err)
	}
	if l.HeldWithin(time.Second) {
		t.Error("the lease is sure though nobody answers")
	}
	<-l.Lost()
	agent.Resume(t)
	if _, err := s.Commit(t.Context(), l.Fence(), put("a", "3")); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("a lost lease writes: %v", err)
	}
	h, err := s.Holder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Depose(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	next := elect(t, s)
	if next.Epoch() <= l.Epoch() {
		t.Errorf("epoch %d after %d", next.Epoch(), l.Epoch())
	}
	commit(t, s, next, put("b", "1"))
	if got := all(t, s); got != "a=1 b=1" && got != "a=2 b=1" {
		t.Errorf("holds %q", got)
	}
}

// TestWriteThatWasHeldUpComesTooLate (C3): the controller's server is paused
// with a write in it, another controller takes over through another server, and
// then the write gets through.
func TestWriteThatWasHeldUpComesTooLate(t *testing.T) {
	agents := consultest.StartServers(t, 3)
	leader := consultest.Leader(t, agents)
	var followers []*consultest.Agent
	for _, a := range agents {
		if a != leader {
			followers = append(followers, a)
		}
	}
	a, b := reach(t, followers[0], prefix), reach(t, followers[1], prefix)
	old := elect(t, a)
	commit(t, a, old, put("a", "1"))
	followers[0].Pause(t)
	failed := make(chan error)
	go func() {
		_, err := a.Commit(t.Context(), old.Fence(), put("a", "too late"))
		failed <- err
	}()
	storetest.Depose(t, b)
	next := elect(t, b)
	commit(t, b, next, put("b", "1"))
	followers[0].Resume(t)
	if err := <-failed; !errors.Is(err, store.ErrDeposed) && !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	<-old.Lost()
	if got := all(t, a); got != "a=1 b=1" {
		t.Errorf("holds %q", got)
	}
}

// TestRestoreIsSeen: a watch returns with a lower index, and no index of before
// matches anything that the snapshot changed (C2, C13).
func TestRestoreIsSeen(t *testing.T) {
	agent := consultest.StartServers(t, 1)[0]
	s := reach(t, agent, prefix)
	l := elect(t, s)
	commit(t, s, l, put("a", "1"))
	snapshot := agent.Snapshot(t)
	at, err := s.Commit(t.Context(), l.Fence(), put("a", "2"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Watch(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	lower := make(chan int64)
	go func() {
		for {
			if index, err := s.Watch(t.Context(), "", after); t.Context().Err() != nil || err == nil && index < after {
				lower <- index
				return
			}
		}
	}()
	agent.Restore(t, snapshot)
	<-lower
	if got := all(t, s); got != "a=1" {
		t.Fatalf("holds %q", got)
	}
	_, err = s.Commit(t.Context(), l.Fence(), []store.Op{{Kind: store.CAS, Key: "a", Value: []byte("3"), Index: at}})
	if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrDeposed) {
		t.Errorf("a cas from before the restore: %v", err)
	}
}

// TestEpochIsMissed: without the epoch, terms would be counted from
// 1 again (invariant 16).
func TestEpochIsMissed(t *testing.T) {
	agent := consultest.Start(t)
	s := reach(t, agent, prefix)
	l := elect(t, s)
	commit(t, s, l, put("a", "1"))
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	agent.DeleteKey(t, prefix+"ctl/epoch")
	if _, err := s.Elect(t.Context(), "candidate"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// TestUnreachableConsul: what was never sent is not unknown.
func TestUnreachableConsul(t *testing.T) {
	agent := consultest.Start(t)
	s := reach(t, agent, prefix)
	l := elect(t, s)
	agent.Kill()
	_, err := s.Commit(t.Context(), l.Fence(), put("a", "1"))
	for errors.Is(err, store.ErrUnknown) { // sent on a connection that had died
		_, err = s.Commit(t.Context(), l.Fence(), put("a", "1"))
	}
	if err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Elect(t.Context(), "x"); err == nil {
		t.Error("elected by nobody")
	}
}

// TestAccessControl: without rights nothing is guessed, and the error says
// which are missing.
func TestAccessControl(t *testing.T) {
	agent := consultest.Start(t, `acl { enabled = true  default_policy = "deny"  tokens { initial_management = "root"  agent = "root" } }`)
	open := func(token string) *store.Consul {
		s, err := store.NewConsul(discovery.ConsulConfig{Address: agent.Addr(), Prefix: prefix, Token: token}, clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	root := open("root")
	l := elect(t, root)
	commit(t, root, l, put("a", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	anonymous := open("")
	if _, err := anonymous.Elect(ctx, "anonymous"); err == nil || !strings.Contains(err.Error(), "ermission denied") {
		t.Errorf("elected without rights: %v", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := anonymous.Elect(ctx, "anonymous"); err == nil || !strings.Contains(err.Error(), "ermission denied") {
		t.Errorf("elected without rights: %v", err)
	}
}
