package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.dev/services/clock"
)

// diary notes what parts do, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) func(context.Context) error {
	return func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lines = append(d.lines, line)
		return nil
	}
}

func (d *diary) part(name string) Part {
	return Part{Name: name, Start: d.note("start " + name), Drain: d.note("drain " + name), Stop: d.note("stop " + name)}
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("parts did %v, want %v", d.lines, want)
	}
}

func newGroup(parts ...Part) (*Group, *clock.Manual) {
	clk := clock.NewManual(time.Unix(0, 0))
	return New(slog.New(slog.DiscardHandler), clk, parts...), clk
}

func TestPartsStartUpTheListAndStopDownIt(t *testing.T) {
	var d diary
	g, _ := newGroup(d.part("metadata"), d.part("gateway"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-g.Ready()
	if !g.IsReady() {
		t.Error("not ready after Ready")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d.expect(t, "start metadata", "start gateway", "drain gateway", "drain metadata", "stop gateway", "stop metadata")
	if g.State() != Stopped {
		t.Errorf("state %s", g.State())
	}
}

func TestFailedStartStopsWhatHasStartedAndNamesThePart(t *testing.T) {
	var d diary
	cause := errors.New("port taken")
	bad := d.part("gateway")
	bad.Start = func(context.Context) error { return cause }
	g, _ := newGroup(d.part("metadata"), bad, d.part("never"))
	err := g.Run(t.Context())
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "start gateway") {
		t.Errorf("error %v", err)
	}
	d.expect(t, "start metadata", "stop metadata")
}

func TestPartThatFailsWhileRunningStopsTheRest(t *testing.T) {
	var d diary
	fail := make(chan error)
	bad := d.part("storage-node")
	bad.Run = func(context.Context) error { return <-fail }
	g, _ := newGroup(d.part("metadata"), bad)
	ended := make(chan error)
	go func() { ended <- g.Run(context.Background()) }()
	<-g.Ready()
	cause := errors.New("disk gone")
	fail <- cause
	if err := <-ended; !errors.Is(err, cause) || !strings.Contains(err.Error(), "run storage-node") {
		t.Errorf("error %v", err)
	}
	d.expect(t, "start metadata", "start storage-node", "drain storage-node", "drain metadata", "stop storage-node", "stop metadata")
}

func TestRunningPartEndsAfterItsStop(t *testing.T) {
	var d diary
	p := d.part("loop")
	p.Run = func(ctx context.Context) error {
		<-ctx.Done()
		_ = d.note("ended loop")(ctx)
		return ctx.Err()
	}
	g, _ := newGroup(p)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-g.Ready()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d.expect(t, "start loop", "drain loop", "stop loop", "ended loop")
}

// A server returns from serving as soon as it is told to stop: that may not hide
// why the process stops.
func TestPartThatItsStopEndsIsNoFailure(t *testing.T) {
	told := make(chan struct{})
	server := Part{
		Name: "server",
		Run:  func(context.Context) error { <-told; return context.Canceled },
		Stop: func(context.Context) error { close(told); runtime.Gosched(); return nil },
	}
	cause := errors.New("port taken")
	bad := Part{Name: "gateway", Start: func(context.Context) error { return cause }}
	g, _ := newGroup(server, bad)
	if err := g.Run(t.Context()); !errors.Is(err, cause) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want only %v", err, cause)
	}
}

func TestHangingStopIsLeftBehindAtTheHardCap(t *testing.T) {
	stopping := make(chan struct{})
	released := make(chan struct{})
	g, clk := newGroup(Part{Name: "stuck", Stop: func(ctx context.Context) error {
		close(stopping)
		<-ctx.Done()
		close(released)
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-g.Ready()
	cancel()
	<-stopping
	clk.Advance(HardStop)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "still hang") {
		t.Errorf("error %v", err)
	}
	<-released // its context was canceled
}

func TestStopBeforeReadyIsNoFailure(t *testing.T) {
	var d diary
	ctx, cancel := context.WithCancel(t.Context())
	waits := Part{Name: "waits", Start: func(ctx context.Context) error {
		cancel()
		return ctx.Err()
	}}
	g, _ := newGroup(d.part("metadata"), waits)
	if err := g.Run(ctx); err != nil {
		t.Error(err)
	}
	d.expect(t, "start metadata", "stop metadata")
}
