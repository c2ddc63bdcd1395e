package controller

import (
	"testing"
	"time"

	"moldau.dev/metadata/store"
)

// watcher is a standby that looks every half second.
type watcher struct {
	suspicion
	now time.Time
}

// silent lets the holder be silent for at most d, and returns after how much of
// it the standby deposes it; 0 if it does not.
func (w *watcher) silent(h store.Holder, d time.Duration) time.Duration {
	for began := w.now; w.now.Sub(began) < d; {
		w.now = w.now.Add(500 * time.Millisecond)
		if w.observe(w.now, h, false) {
			return w.now.Sub(began)
		}
	}
	return 0
}

func (w *watcher) alive(h store.Holder, d time.Duration) {
	for began := w.now; w.now.Sub(began) < d; {
		w.now = w.now.Add(500 * time.Millisecond)
		w.observe(w.now, h, true)
	}
}

var first, second = store.Holder{Candidate: "a", Fence: store.Fence{Epoch: 1}}, store.Holder{Candidate: "b", Fence: store.Fence{Epoch: 2}}

// TestSilenceOfThreeSecondsDeposes (C7).
func TestSilenceOfThreeSecondsDeposes(t *testing.T) {
	w := watcher{now: noon}
	w.alive(first, 10*time.Second)
	if got := w.silent(first, time.Minute); got != firstPatience {
		t.Errorf("deposed after %s", got)
	}
}

func TestASignOfLifeOrANewHolderBeginsAnew(t *testing.T) {
	w := watcher{now: noon}
	w.alive(first, time.Second)
	if w.silent(first, firstPatience-time.Second) != 0 {
		t.Fatal("too early")
	}
	w.alive(first, time.Second)
	if w.silent(first, firstPatience-time.Second) != 0 {
		t.Error("too early after a sign of life")
	}
	if w.silent(second, firstPatience-time.Second) != 0 {
		t.Error("too early after a change")
	}
	if w.silent(store.Holder{}, time.Hour) != 0 {
		t.Error("deposed nobody")
	}
}

// TestAStandbyThatWasStalledBlamesItself: it has not seen the pongs either.
func TestAStandbyThatWasStalledBlamesItself(t *testing.T) {
	w := watcher{now: noon}
	w.alive(first, time.Second)
	w.now = w.now.Add(time.Hour)
	if w.observe(w.now, first, false) {
		t.Error("deposed after a pause of its own")
	}
}

// TestPatienceGrowsWhileTwoDeposeOneAnother: they cannot reach each other, but
// both the store.
func TestPatienceGrowsWhileTwoDeposeOneAnother(t *testing.T) {
	w := watcher{now: noon}
	w.alive(first, time.Second)
	for _, want := range []time.Duration{3, 6, 12, 24, 48, 60, 60} {
		if got := w.silent(first, 2*time.Minute); got != want*time.Second {
			t.Fatalf("deposed after %s, want %ds", got, want)
		}
	}
	w.alive(first, calmAfter+lastPatience+time.Second)
	if got := w.silent(first, 2*time.Minute); got != firstPatience {
		t.Errorf("after calm: deposed after %s", got)
	}
}
