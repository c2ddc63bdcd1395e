package clock

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestTimersFireInOrderOfTheirTime(t *testing.T) {
	m := NewManual(noon)
	var got []string
	note := func(s string) func() {
		return func() { got = append(got, s+" "+m.Since(noon).String()) }
	}
	m.AfterFunc(3*time.Second, note("c"))
	m.AfterFunc(time.Second, func() {
		note("a")()
		m.AfterFunc(time.Second, note("b"))
	})
	m.AfterFunc(3*time.Second, note("d"))
	m.AfterFunc(time.Minute, note("late"))

	m.Advance(5 * time.Second)

	want := []string{"a 1s", "b 2s", "c 3s", "d 3s"}
	if !slices.Equal(got, want) {
		t.Fatalf("fired %v, want %v", got, want)
	}
	if m.Since(noon) != 5*time.Second || m.Pending() != 1 {
		t.Fatalf("stands at +%s with %d pending", m.Since(noon), m.Pending())
	}
}

func TestStoppedTimerLeavesNoStaleValue(t *testing.T) {
	m := NewManual(noon)
	timer := m.NewTimer(time.Second)
	m.Advance(time.Second)
	if timer.Stop() {
		t.Fatal("Stop of a fired timer reported it pending")
	}
	select {
	case <-timer.C():
		t.Fatal("a value survived Stop")
	default:
	}
	timer.Reset(time.Second)
	m.Advance(time.Second)
	if at := <-timer.C(); !at.Equal(noon.Add(2 * time.Second)) {
		t.Fatalf("fired at %s", at)
	}
}

func TestTimerOfNoDurationFiresAtOnce(t *testing.T) {
	m := NewManual(noon)
	if at := <-m.NewTimer(0).C(); !at.Equal(noon) {
		t.Fatalf("fired at %s", at)
	}
}

func TestRealClockMoves(t *testing.T) {
	c := Real()
	start := c.Now()
	<-c.NewTimer(time.Millisecond).C()
	if c.Since(start) < time.Millisecond {
		t.Fatal("time did not pass")
	}
}
