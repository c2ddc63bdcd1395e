package controller

import (
	"slices"
	"testing"
	"time"
)

func TestLivenessNamesTheSilent(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	l := newLiveness(4*time.Second, at(0))
	live := []int32{1, 2, 3, 4, 5, 6, 7}
	if dead := l.overdue(at(3), live); dead != nil {
		t.Fatalf("before a whole timeout: %v", dead)
	}
	for _, id := range live {
		l.beat(id, at(3))
	}
	for _, id := range []int32{1, 2, 3, 4, 5} {
		l.beat(id, at(6))
	}
	l.beat(7, at(2)) // came late
	if dead := l.overdue(at(7), live); !slices.Equal(dead, []int32{7, 6}) {
		t.Errorf("not the longest silent first: %v", dead)
	}
}

// TestLivenessDoubtsItselfFirst: more than half vanish (C9).
func TestLivenessDoubtsItselfFirst(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	l := newLiveness(4*time.Second, at(0))
	live := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if dead := l.overdue(at(4), live); dead != nil {
		t.Fatalf("all vanished, and it did not doubt itself: %v", dead)
	}
	l.beat(9, at(7))
	if dead := l.overdue(at(7), live); dead != nil {
		t.Fatalf("no whole timeout later: %v", dead)
	}
	dead := l.overdue(at(8), live)
	if !slices.Equal(dead, []int32{1, 2, 3, 4}) {
		t.Fatalf("fenced %v at once", dead)
	}
	if dead := l.overdue(at(9), []int32{5, 6, 7, 8, 9}); !slices.Equal(dead, []int32{5, 6, 7, 8}) {
		t.Fatalf("doubted itself twice: %v", dead)
	}
	l.beat(9, at(20))
	if dead := l.overdue(at(30), []int32{8, 9}); dead != nil {
		t.Errorf("the doubt is gone for ever: %v", dead)
	}
}

func TestLivenessOfASingleOneNeedsNoDoubt(t *testing.T) {
	l := newLiveness(time.Second, noon)
	if dead := l.overdue(noon.Add(time.Second), []int32{3}); !slices.Equal(dead, []int32{3}) {
		t.Errorf("got %v", dead)
	}
	l.forgive(noon.Add(time.Second))
	if dead := l.overdue(noon.Add(time.Second), []int32{3}); dead != nil {
		t.Errorf("not forgiven: %v", dead)
	}
}
