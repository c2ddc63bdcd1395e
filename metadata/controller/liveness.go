package controller

import (
	"cmp"
	"slices"
	"time"
)

// fencedAtOnce bounds how many are fenced in one look, so that the cluster
// settles in between (C9).
const fencedAtOnce = 4

// doubtEvery is how many timeouts pass between two doubts.
const doubtEvery = 3

// liveness is what a term knows of the signs of life of one kind of service. It
// is pure: the caller brings the time.
type liveness struct {
	timeout time.Duration
	began   time.Time // silence counts from here on at the earliest (C9)
	beats   map[int32]time.Time
	doubted time.Time // when the listener last doubted itself
}

func newLiveness(timeout time.Duration, now time.Time) *liveness {
	return &liveness{timeout: timeout, began: now, beats: map[int32]time.Time{}}
}

// beat notes a sign of life.
func (l *liveness) beat(id int32, at time.Time) { l.beats[id] = at }

// silent returns for how long there was no sign of life that could be heard.
func (l *liveness) silent(id int32, now time.Time) time.Duration {
	last := l.beats[id]
	if last.Before(l.began) {
		last = l.began
	}
	return now.Sub(last)
}

// forgive begins to count anew: nobody could be heard.
func (l *liveness) forgive(now time.Time) { l.began = now }

// overdue returns whom of the live to fence, the longest silent first. When more
// than half vanish at once the listener doubts itself first, and gives all of
// them one more timeout (C9).
func (l *liveness) overdue(now time.Time, live []int32) []int32 {
	var silent []int32
	for _, id := range live {
		if l.silent(id, now) >= l.timeout {
			silent = append(silent, id)
		}
	}
	if len(silent) > 1 && 2*len(silent) > len(live) && now.Sub(l.doubted) > doubtEvery*l.timeout {
		l.doubted = now
		l.forgive(now)
		return nil
	}
	slices.SortStableFunc(silent, func(a, b int32) int { return cmp.Compare(l.silent(b, now), l.silent(a, now)) })
	return silent[:min(len(silent), fencedAtOnce)]
}
