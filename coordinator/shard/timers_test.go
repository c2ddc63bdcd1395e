package shard

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestTimersAgreeWithASlowModel sets, cancels and takes out at random.
func TestTimersAgreeWithASlowModel(t *testing.T) {
	type slow struct {
		at  time.Time
		seq int
	}
	rapid.Check(t, func(t *rapid.T) {
		timers, model, seq := NewTimers[int](), map[int]slow{}, 0
		earliest := func() (int, bool) {
			best, found := 0, false
			for k, v := range model {
				if b := model[best]; !found || v.at.Before(b.at) || v.at.Equal(b.at) && v.seq < b.seq {
					best, found = k, true
				}
			}
			return best, found
		}
		key, second := rapid.IntRange(0, 9), rapid.IntRange(0, 20)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, at := key.Draw(t, "key"), noon.Add(time.Duration(second.Draw(t, "at"))*time.Second)
				seq++
				model[k] = slow{at, seq}
				timers.Set(k, at)
			},
			"cancel": func(t *rapid.T) {
				k := key.Draw(t, "key")
				delete(model, k)
				timers.Cancel(k)
			},
			"due": func(t *rapid.T) {
				now := noon.Add(time.Duration(second.Draw(t, "now")) * time.Second)
				want, ok := earliest()
				ok = ok && !model[want].at.After(now)
				got, due := timers.Due(now)
				if due != ok || due && got != want {
					t.Fatalf("due %d %v, want %d %v", got, due, want, ok)
				}
				if due {
					delete(model, got)
				}
			},
			"": func(t *rapid.T) {
				var next time.Time
				if k, ok := earliest(); ok {
					next = model[k].at
				}
				if timers.Len() != len(model) || !timers.Next().Equal(next) {
					t.Fatalf("%d timers, next %s; want %d, %s", timers.Len(), timers.Next(), len(model), next)
				}
				for k := range 10 {
					if _, want := model[k]; timers.Has(k) != want {
						t.Fatalf("has %d: %v", k, !want)
					}
				}
			},
		})
	})
}
