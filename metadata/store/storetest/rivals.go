package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"moldau.dev/metadata/store"
)

// rivalries are what two processes on one truth may expect of each other.
var rivalries = map[string]func(t *testing.T, a, b store.Store){
	"a commit is seen at once": func(t *testing.T, a, b store.Store) {
		l := elect(t, a)
		for i := range 10 {
			commit(t, a, l, set("a", fmt.Sprint(i)))
			if got := dump(t, b, ""); got != fmt.Sprintf("a=%d", i) {
				t.Fatalf("round %d: %q", i, got)
			}
		}
	},
	"one leads and the other waits": func(t *testing.T, a, b store.Store) {
		l := elect(t, a)
		got := make(chan store.Lease)
		go func() {
			next, _ := b.Elect(t.Context(), "b")
			got <- next
		}()
		commit(t, a, l, set("a", "1"))
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := <-got
		if next == nil || next.Epoch() <= l.Epoch() {
			t.Fatalf("got %v", next)
		}
		commit(t, b, next, set("b", "1"))
	},
	"the deposed cannot write, whether it knows or not": func(t *testing.T, a, b store.Store) {
		old := elect(t, a)
		commit(t, a, old, set("a", "1"))
		Depose(t, b)
		refused(t, a, old.Fence())
		next := elect(t, b)
		refused(t, a, old.Fence())
		commit(t, b, next, set("a", "2"))
		if got := dump(t, a, ""); got != "a=2" {
			t.Errorf("holds %q", got)
		}
	},
	"the deposed learns of it": func(t *testing.T, a, b store.Store) {
		old := elect(t, a)
		Depose(t, b)
		<-old.Lost()
		if old.HeldWithin(time.Hour) {
			t.Error("a lost lease is held")
		}
	},
	"the holder is known": func(t *testing.T, a, b store.Store) {
		if h, err := b.Holder(t.Context()); err != nil || h != (store.Holder{}) {
			t.Fatalf("before anyone: %v, %v", h, err)
		}
		l := elect(t, a)
		if h, err := b.Holder(t.Context()); err != nil || h != (store.Holder{Candidate: "candidate", Fence: l.Fence()}) {
			t.Fatalf("got %v, %v, want %v", h, err, l.Fence())
		}
		if !l.HeldWithin(time.Hour) {
			t.Error("a new lease is not held")
		}
		_ = l.Release(t.Context())
		if h, err := b.Holder(t.Context()); err != nil || h != (store.Holder{}) {
			t.Fatalf("after the release: %v, %v", h, err)
		}
	},
	"to depose a former holder leaves the newest alone": func(t *testing.T, a, b store.Store) {
		old := elect(t, a)
		was, err := b.Holder(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = old.Release(t.Context())
		next := elect(t, a)
		for _, h := range []store.Holder{was, {}} {
			if err := b.Depose(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		commit(t, a, next, set("a", "1"))
	},
	"of many candidates one leads at a time": func(t *testing.T, a, b store.Store) {
		var mu sync.Mutex
		var epochs []int64
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				l, err := []store.Store{a, b}[i%2].Elect(t.Context(), fmt.Sprint(i))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				epochs = append(epochs, l.Epoch())
				mu.Unlock()
				if _, err := []store.Store{a, b}[i%2].Commit(t.Context(), l.Fence(), []store.Op{set("leads", fmt.Sprint(i))}); err != nil {
					t.Errorf("candidate %d: %v", i, err)
				}
				_ = l.Release(t.Context())
			})
		}
		wg.Wait()
		for i := 1; i < len(epochs); i++ {
			if epochs[i] <= epochs[i-1] {
				t.Fatalf("epochs %v", epochs)
			}
		}
	},
	"a watch sees the other's commit": func(t *testing.T, a, b store.Store) {
		l := elect(t, a)
		commit(t, a, l, set("a", ""))
		at, err := b.Watch(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan int64)
		go func() {
			i, _ := b.Watch(t.Context(), "a", at)
			got <- i
		}()
		commit(t, a, l, set("a", "1"))
		if i := <-got; i <= at {
			t.Errorf("index %d after %d", i, at)
		}
	},
	"an index of the other's is one's own": func(t *testing.T, a, b store.Store) {
		l := elect(t, a)
		commit(t, a, l, set("a", "1"))
		at := indexes(t, b)["a"]
		_ = l.Release(t.Context())
		next := elect(t, b)
		commit(t, b, next, cas("a", "2", at))
		if _, err := b.Commit(t.Context(), next.Fence(), []store.Op{cas("a", "3", at)}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("an old index: %v", err)
		}
	},
	"who waits no more does not lead": func(t *testing.T, a, b store.Store) {
		l := elect(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := b.Elect(ctx, "b")
			failed <- err
		}()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		_ = l.Release(t.Context())
		commit(t, a, elect(t, a), set("a", ""))
	},
}
