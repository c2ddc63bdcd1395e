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

// Subject is a store under test.
type Subject interface {
	store.Store
	// Depose ends the lease without its holder's doing.
	Depose()
}

// Run runs the suite; open returns a new, empty store.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range opCases {
		t.Run("op/"+c.name, func(t *testing.T) { runOp(t, open(t), c) })
	}
	for name, test := range behaviours {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
		})
	}
}

// state is what a store holds: key=value, and "index of key" by name.
type opCase struct {
	name  string
	seed  string // keys that exist, each with its own name as the value
	ops   func(index map[string]int64) []store.Op
	fails error
	want  string // pairs afterwards
}

func set(k, v string) store.Op { return store.Op{Kind: store.Set, Key: k, Value: []byte(v)} }
func cas(k, v string, i int64) store.Op {
	return store.Op{Kind: store.CAS, Key: k, Value: []byte(v), Index: i}
}
func del(k string) store.Op             { return store.Op{Kind: store.Delete, Key: k} }
func delCAS(k string, i int64) store.Op { return store.Op{Kind: store.DeleteCAS, Key: k, Index: i} }
func check(k string, i int64) store.Op  { return store.Op{Kind: store.Check, Key: k, Index: i} }

func ops(list ...store.Op) func(map[string]int64) []store.Op {
	return func(map[string]int64) []store.Op { return list }
}

var opCases = []opCase{
	{"set makes a key", "", ops(set("a", "1")), nil, "a=1"},
	{"set replaces a value", "a", ops(set("a", "1")), nil, "a=1"},
	{"set of the same value is a write", "a", ops(set("a", "a")), nil, "a=a"},
	{"set of nothing keeps the key", "", ops(set("a", "")), nil, "a="},
	{"cas 0 makes a key", "", ops(cas("a", "1", 0)), nil, "a=1"},
	{"cas 0 refuses an old key", "a", ops(cas("a", "1", 0)), store.ErrConflict, "a=a"},
	{"cas at the index writes", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"])} }, nil, "a=1"},
	{"cas at an older index refuses", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"]-1)} }, store.ErrConflict, "a=a"},
	{"cas at a newer index refuses", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"]+1)} }, store.ErrConflict, "a=a"},
	{"cas of a missing key refuses", "", ops(cas("a", "1", 7)), store.ErrConflict, ""},
	{"delete removes", "a b", ops(del("a")), nil, "b=b"},
	{"delete of a missing key is nothing", "b", ops(del("a")), nil, "b=b"},
	{"delete-cas removes", "a", func(i map[string]int64) []store.Op { return []store.Op{delCAS("a", i["a"])} }, nil, ""},
	{"delete-cas refuses another index", "a", func(i map[string]int64) []store.Op { return []store.Op{delCAS("a", i["a"]+1)} }, store.ErrConflict, "a=a"},
	{"delete-cas refuses a missing key", "", ops(delCAS("a", 1)), store.ErrConflict, ""},
	{"check holds", "a", func(i map[string]int64) []store.Op { return []store.Op{check("a", i["a"]), set("b", "1")} }, nil, "a=a b=1"},
	{"check fails", "a", func(i map[string]int64) []store.Op { return []store.Op{check("a", i["a"]+1), set("b", "1")} }, store.ErrConflict, "a=a"},
	{"check of absence holds", "", ops(check("a", 0), set("b", "1")), nil, "b=1"},
	{"check of absence fails", "a", ops(check("a", 0), set("b", "1")), store.ErrConflict, "a=a"},
	{"a late conflict undoes the whole", "a", ops(set("b", "1"), set("c", "1"), cas("a", "1", 0)), store.ErrConflict, "a=a"},
	{"an early conflict undoes the whole", "a", ops(cas("a", "1", 0), del("a"), set("b", "1")), store.ErrConflict, "a=a"},
	{"many kinds in one", "a b", func(i map[string]int64) []store.Op {
		return []store.Op{set("c", "1"), del("a"), cas("b", "2", i["b"]), cas("d", "3", 0)}
	}, nil, "b=2 c=1 d=3"},
	{"no ops", "a", ops(), nil, "a=a"},
	{"as many ops as allowed", "", func(map[string]int64) []store.Op { return many(store.MaxOps, 1)[:store.MaxOps] }, nil, ""},
	{"one op too many", "a", func(map[string]int64) []store.Op { return many(store.MaxOps+1, 1) }, store.ErrTooLarge, "a=a"},
	{"too many bytes", "a", func(map[string]int64) []store.Op { return many(2, store.MaxBytes/2) }, store.ErrTooLarge, "a=a"},
}

func many(n, size int) []store.Op {
	list := make([]store.Op, n)
	for i := range list {
		list[i] = set(fmt.Sprintf("many/%03d", i), strings.Repeat("x", size))
	}
	return list
}

func runOp(t *testing.T, s Subject, c opCase) {
	lease := elect(t, s)
	for _, key := range strings.Fields(c.seed) {
		commit(t, s, lease, set(key, key))
	}
	list := c.ops(indexes(t, s))
	index, err := s.Commit(t.Context(), lease.Fence(), list)
	if !errors.Is(err, c.fails) || (err == nil) != (c.fails == nil) {
		t.Fatalf("Commit = %v, want %v", err, c.fails)
	}
	if c.want == "" && err == nil && len(list) == store.MaxOps {
		if n := len(indexes(t, s)); n != store.MaxOps {
			t.Fatalf("%d keys", n)
		}
		return
	}
	if got := dump(t, s, ""); got != c.want {
		t.Errorf("holds %q, want %q", got, c.want)
	}
	for _, op := range list {
		if got := indexes(t, s)[op.Key]; err == nil && (op.Kind == store.Set || op.Kind == store.CAS) && got != index {
			t.Errorf("%s is at %d, but Commit said %d", op.Key, got, index)
		}
	}
}

var behaviours = map[string]func(*testing.T, Subject){
	"list is sorted and by prefix": func(t *testing.T, s Subject) {
		commit(t, s, elect(t, s), set("b/2", ""), set("a", ""), set("b/1", ""), set("b0", ""), set("c", ""))
		if got := dump(t, s, "b/"); got != "b/1= b/2=" {
			t.Errorf("got %q", got)
		}
	},
	"list of nothing": func(t *testing.T, s Subject) {
		if got := dump(t, s, "x"); got != "" {
			t.Errorf("got %q", got)
		}
	},
	"index grows with each write, of an equal value too": func(t *testing.T, s Subject) {
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
	"index of a key that was deleted and made again grows": func(t *testing.T, s Subject) {
		l := elect(t, s)
		commit(t, s, l, set("a", ""))
		before := indexes(t, s)["a"]
		commit(t, s, l, del("a"))
		commit(t, s, l, set("a", ""))
		if now := indexes(t, s)["a"]; now <= before {
			t.Errorf("index %d after %d", now, before)
		}
	},
	"values belong to the caller": func(t *testing.T, s Subject) {
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
	"conflict names the key": func(t *testing.T, s Subject) {
		l := elect(t, s)
		_, err := s.Commit(t.Context(), l.Fence(), []store.Op{check("a", 0), cas("b", "", 9)})
		if e, ok := errors.AsType[*store.ConflictError](err); !ok || e.Key != "b" || e.Want != 9 || e.Got != 0 {
			t.Errorf("got %#v", err)
		}
	},
	"no fence, no write": func(t *testing.T, s Subject) { refused(t, s, store.Fence{}) },
	"a forged session": func(t *testing.T, s Subject) {
		l := elect(t, s)
		refused(t, s, store.Fence{Session: "forged", Epoch: l.Epoch()})
	},
	"a forged epoch": func(t *testing.T, s Subject) {
		l := elect(t, s)
		refused(t, s, store.Fence{Session: l.Fence().Session, Epoch: l.Epoch() + 1})
	},
	"released": func(t *testing.T, s Subject) {
		l := elect(t, s)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(t, s, l.Fence())
	},
	"released twice lets one successor in": func(t *testing.T, s Subject) {
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
	"deposed": func(t *testing.T, s Subject) {
		l := elect(t, s)
		s.Depose()
		<-l.Lost()
		refused(t, s, l.Fence())
	},
	"the old fence stays dead under a new lease": func(t *testing.T, s Subject) {
		old := elect(t, s)
		s.Depose()
		next := elect(t, s)
		refused(t, s, old.Fence())
		commit(t, s, next, set("a", ""))
	},
	"a late release of the old lease leaves the new one alone": func(t *testing.T, s Subject) {
		old := elect(t, s)
		s.Depose()
		next := elect(t, s)
		_ = old.Release(t.Context())
		commit(t, s, next, set("a", ""))
	},
	"epochs grow": func(t *testing.T, s Subject) {
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
	"elect waits for the lease": func(t *testing.T, s Subject) {
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
	"elect ends with its context": func(t *testing.T, s Subject) {
		elect(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Elect(ctx, "second"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	},
	"watch sees what has happened": func(t *testing.T, s Subject) {
		commit(t, s, elect(t, s), set("a", ""))
		if i, err := s.Watch(t.Context(), "a", 0); err != nil || i == 0 {
			t.Errorf("got %d, %v", i, err)
		}
	},
	"watch wakes": func(t *testing.T, s Subject) {
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
	"watch ends with its context": func(t *testing.T, s Subject) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Watch(ctx, "a", 1<<40); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	},
	"close ends everything": func(t *testing.T, s Subject) {
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
	"canceled before it began": func(t *testing.T, s Subject) {
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
	"racing cas: one wins each round": func(t *testing.T, s Subject) {
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
	"lost before: unknown and not there": func(t *testing.T, s Subject) { lost(t, s, LostBefore, "") },
	"lost after: unknown and there":      func(t *testing.T, s Subject) { lost(t, s, LostAfter, "a=1") },
	"after unknown, the same cas decides": func(t *testing.T, s Subject) {
		l, f := elect(t, s), Wrap(s)
		f.Next(LostAfter)
		_, first := f.Commit(t.Context(), l.Fence(), []store.Op{cas("a", "1", 0)})
		_, second := f.Commit(t.Context(), l.Fence(), []store.Op{cas("a", "1", 0)})
		if !errors.Is(first, store.ErrUnknown) || !errors.Is(second, store.ErrConflict) {
			t.Errorf("got %v, then %v", first, second)
		}
	},
}

func lost(t *testing.T, s Subject, fault Fault, want string) {
	l, f := elect(t, s), Wrap(s)
	f.Next(fault)
	if _, err := f.Commit(t.Context(), l.Fence(), []store.Op{set("a", "1")}); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	if got := dump(t, s, ""); got != want {
		t.Errorf("holds %q, want %q", got, want)
	}
}

func refused(t *testing.T, s Subject, fence store.Fence) {
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
