// Package storetest is the one suite that every store passes, so that the
// controller cannot tell them apart.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"moldau.dev/metadata/store"
)

// Truth opens one more store onto one truth. Stores that live in one process
// return the same one each time.
type Truth func() store.Store

// Run runs the suite; found founds a new, empty truth.
func Run(t *testing.T, found func(t *testing.T) Truth) {
	for _, c := range opCases {
		t.Run("op/"+c.name, func(t *testing.T) { runOp(t, found(t)(), c) })
	}
	for name, test := range behaviours {
		t.Run(name, func(t *testing.T) { test(t, found(t)()) })
	}
	for name, test := range rivalries {
		t.Run("rivals/"+name, func(t *testing.T) {
			truth := found(t)
			test(t, truth(), truth())
		})
	}
}

// Depose ends the lease of whoever holds it, as the end of a session would.
func Depose(t testing.TB, s store.Store) {
	t.Helper()
	h, err := s.Holder(t.Context())
	if err == nil {
		err = s.Depose(t.Context(), h)
	}
	if err != nil {
		t.Fatalf("depose: %v", err)
	}
}

var behaviours = map[string]func(*testing.T, store.Store){
	"list is sorted and by prefix": func(t *testing.T, s store.Store) {
		commit(t, s, elect(t, s), set("b/2", ""), set("a", ""), set("b/1", ""), set("b0", ""), set("c", ""))
		if got := dump(t, s, "b/"); got != "b/1= b/2=" {
			t.Errorf("got %q", got)
		}
	},
	"list of nothing": func(t *testing.T, s store.Store) {
		if got := dump(t, s, "x"); got != "" {
			t.Errorf("got %q", got)
		}
	},
	"index grows with each write, of an equal value too": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		last := int64(0)
		for range 5 {
			commit(t, s, l, set("a", "same"))
			if i := indexes(t, s)["a"]; i <= last {
				t.Fatalf("index %d after %d", i, last)
			} else {
				last = i
			}
		}
	},
	"index of a key that was deleted and made again grows": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		commit(t, s, l, set("a", ""))
		before := indexes(t, s)["a"]
		commit(t, s, l, del("a"))
		commit(t, s, l, set("a", ""))
		if now := indexes(t, s)["a"]; now <= before {
			t.Errorf("index %d after %d", now, before)
		}
	},
	"values belong to the caller": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		mine := []byte("mine")
		commit(t, s, l, store.Op{Kind: store.Set, Key: "a", Value: mine})
		mine[0] = 'X'
		pairs, _ := s.List(t.Context(), "a")
		pairs[0].Value[1] = 'X'
		if got := dump(t, s, ""); got != "a=mine" {
			t.Errorf("got %q", got)
		}
	},
	"conflict names the key": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		_, err := s.Commit(t.Context(), l.Fence(), []store.Op{check("a", 0), cas("b", "", 9)})
		if e, ok := errors.AsType[*store.ConflictError](err); !ok || e.Key != "b" || e.Want != 9 || e.Got != 0 {
			t.Errorf("got %#v", err)
		}
	},
	"no fence, no write": func(t *testing.T, s store.Store) { refused(t, s, store.Fence{}) },
	"a forged session": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		refused(t, s, store.Fence{Session: "forged", Epoch: l.Epoch()})
	},
	"a forged epoch": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		refused(t, s, store.Fence{Session: l.Fence().Session, Epoch: l.Epoch() + 1})
	},
	"released": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(t, s, l.Fence())
	},
	"released twice lets one successor in": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		_ = l.Release(t.Context())
		_ = l.Release(t.Context())
		next := elect(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Elect(ctx, "third"); err == nil {
			t.Fatal("two leases at once")
		}
		commit(t, s, next, set("a", ""))
	},
	"deposed": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		Depose(t, s)
		<-l.Lost()
		refused(t, s, l.Fence())
	},
	"the old fence stays dead under a new lease": func(t *testing.T, s store.Store) {
		old := elect(t, s)
		Depose(t, s)
		next := elect(t, s)
		refused(t, s, old.Fence())
		commit(t, s, next, set("a", ""))
	},
	"a late release of the old lease leaves the new one alone": func(t *testing.T, s store.Store) {
		old := elect(t, s)
		Depose(t, s)
		next := elect(t, s)
		_ = old.Release(t.Context())
		commit(t, s, next, set("a", ""))
	},
	"epochs grow": func(t *testing.T, s store.Store) {
		last := int64(0)
		for range 5 {
			l := elect(t, s)
			if l.Epoch() <= last {
				t.Fatalf("epoch %d after %d", l.Epoch(), last)
			}
			last = l.Epoch()
			_ = l.Release(t.Context())
		}
	},
	"elect waits for the lease": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		got := make(chan store.Lease)
		go func() {
			next, _ := s.Elect(t.Context(), "second")
			got <- next
		}()
		select {
		case <-got:
			t.Fatal("two leases at once")
		default:
		}
		_ = l.Release(t.Context())
		if next := <-got; next == nil || next.Epoch() <= l.Epoch() {
			t.Fatalf("got %v", next)
		}
	},
	"elect ends with its context": func(t *testing.T, s store.Store) {
		elect(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Elect(ctx, "second"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	},
	"watch sees what has happened": func(t *testing.T, s store.Store) {
		commit(t, s, elect(t, s), set("a", ""))
		if i, err := s.Watch(t.Context(), "a", 0); err != nil || i == 0 {
			t.Errorf("got %d, %v", i, err)
		}
	},
	"watch wakes": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		commit(t, s, l, set("a", ""))
		at, _ := s.Watch(t.Context(), "a", 0)
		got := make(chan int64)
		go func() {
			i, _ := s.Watch(t.Context(), "a", at)
			got <- i
		}()
		commit(t, s, l, del("a"))
		if i := <-got; i <= at {
			t.Errorf("index %d after %d", i, at)
		}
	},
	"watch ends with its context": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Watch(ctx, "a", 1<<40); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	},
	"close ends everything": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		<-l.Lost()
		_, listErr := s.List(t.Context(), "")
		_, electErr := s.Elect(t.Context(), "x")
		_, watchErr := s.Watch(t.Context(), "", 1<<40)
		for _, err := range []error{listErr, electErr, watchErr} {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	},
	"canceled before it began": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Commit(ctx, l.Fence(), []store.Op{set("a", "")}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if got := dump(t, s, ""); got != "" {
			t.Errorf("holds %q", got)
		}
	},
	"racing cas: one wins each round": func(t *testing.T, s store.Store) {
		l := elect(t, s)
		for round := range 10 {
			at := indexes(t, s)["a"]
			var wg sync.WaitGroup
			won := make(chan int, 8)
			for i := range 8 {
				wg.Go(func() {
					if _, err := s.Commit(t.Context(), l.Fence(), []store.Op{cas("a", fmt.Sprint(i), at)}); err == nil {
						won <- i
					}
				})
			}
			wg.Wait()
			if len(won) != 1 {
				t.Fatalf("round %d: %d winners", round, len(won))
			}
			if got := dump(t, s, ""); got != fmt.Sprintf("a=%d", <-won) {
				t.Fatalf("round %d: %s", round, got)
			}
		}
	},
	"lost before: unknown and not there": func(t *testing.T, s store.Store) { lost(t, s, LostBefore, "") },
	"lost after: unknown and there":      func(t *testing.T, s store.Store) { lost(t, s, LostAfter, "a=1") },
	"after unknown, the same cas decides": func(t *testing.T, s store.Store) {
		l, f := elect(t, s), Wrap(s)
		f.Next(LostAfter)
		_, first := f.Commit(t.Context(), l.Fence(), []store.Op{cas("a", "1", 0)})
		_, second := f.Commit(t.Context(), l.Fence(), []store.Op{cas("a", "1", 0)})
		if !errors.Is(first, store.ErrUnknown) || !errors.Is(second, store.ErrConflict) {
			t.Errorf("got %v, then %v", first, second)
		}
	},
}

func lost(t *testing.T, s store.Store, fault Fault, want string) {
	l, f := elect(t, s), Wrap(s)
	f.Next(fault)
	if _, err := f.Commit(t.Context(), l.Fence(), []store.Op{set("a", "1")}); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	if got := dump(t, s, ""); got != want {
		t.Errorf("holds %q, want %q", got, want)
	}
}

func refused(t *testing.T, s store.Store, fence store.Fence) {
	t.Helper()
	if _, err := s.Commit(t.Context(), fence, []store.Op{set("refused", "")}); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("got %v, want ErrDeposed", err)
	}
	if got := dump(t, s, "refused"); got != "" {
		t.Errorf("it was written: %q", got)
	}
}

func elect(t *testing.T, s store.Store) store.Lease {
	t.Helper()
	l, err := s.Elect(t.Context(), "candidate")
	if err != nil {
		t.Fatalf("Elect: %v", err)
	}
	return l
}

func commit(t *testing.T, s store.Store, l store.Lease, ops ...store.Op) {
	t.Helper()
	if _, err := s.Commit(t.Context(), l.Fence(), ops); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func list(t *testing.T, s store.Store, prefix string) []store.Pair {
	t.Helper()
	pairs, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if !slices.IsSortedFunc(pairs, func(a, b store.Pair) int { return strings.Compare(a.Key, b.Key) }) {
		t.Fatalf("List is not sorted: %v", pairs)
	}
	return pairs
}

func dump(t *testing.T, s store.Store, prefix string) string {
	t.Helper()
	var out []string
	for _, p := range list(t, s, prefix) {
		out = append(out, p.Key+"="+string(p.Value))
	}
	return strings.Join(out, " ")
}

func indexes(t *testing.T, s store.Store) map[string]int64 {
	t.Helper()
	m := map[string]int64{}
	for _, p := range list(t, s, "") {
		m[p.Key] = p.Index
	}
	return m
}
