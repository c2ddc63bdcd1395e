// Package lifecycle starts the parts of a process up a list and stops them
// down it. services/moldau builds the list in river order; the parts know
// nothing of each other's order.
//
//	          all parts started             ctx done, or a part failed
//	STARTING ────────────────────▶ READY ─────────────────────────────▶ DRAINING
//	    │                                                                   │ all drained
//	    │ a Start failed, or ctx done                                       ▼
//	    └──────────────────────────────────────────────────────────────▶ STOPPING ──▶ STOPPED
//
// Invariant: a part is drained and stopped only while every part before it in
// the list still runs; DRAINING and STOPPING together never outlast HardStop.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"moldau.dev/services/clock"
)

// HardStop bounds draining and stopping together.
const HardStop = 30 * time.Second

// State is where a process is in its life, in the order of the diagram.
type State int32

// The states.
const (
	Starting State = iota
	Ready
	Draining
	Stopping
	Stopped
)

// String returns the state's name in the diagram.
func (s State) String() string {
	return [...]string{"STARTING", "READY", "DRAINING", "STOPPING", "STOPPED"}[s]
}

// Part is one thing that starts and stops. All functions are optional.
type Part struct {
	Name string
	// Start returns once the part can serve. Its context ends with startup's
	// failure or the process's stop, so nothing long-lived may hang on it.
	Start func(ctx context.Context) error
	// Run works until its context ends, which happens after Stop. What Stop ends
	// may return as soon as Stop is called, with nil or context.Canceled; to
	// return earlier, with or without an error, is a failure that stops the
	// process.
	Run func(ctx context.Context) error
	// Drain refuses new work and hands over what can be handed over.
	Drain func(ctx context.Context) error
	// Stop ends the part and releases what it holds.
	Stop func(ctx context.Context) error
}

// Group runs a list of parts once.
type Group struct {
	log   *slog.Logger
	clock clock.Clock
	parts []Part
	state atomic.Int32
	ready chan struct{}
}

// New returns a group that starts parts in the order given.
func New(log *slog.Logger, clk clock.Clock, parts ...Part) *Group {
	return &Group{log: log, clock: clk, parts: parts, ready: make(chan struct{})}
}

// Ready is closed once all parts have started.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// IsReady reports whether the process should get traffic: all parts have
// started and draining has not begun.
func (g *Group) IsReady() bool { return g.State() == Ready }

// State returns the current state.
func (g *Group) State() State { return State(g.state.Load()) }

// Run starts all parts, waits until ctx is done or a part fails, and stops
// them. It returns nil if ctx ended the run and everything stopped cleanly,
// else what went wrong, each error named by its part. Call it once.
func (g *Group) Run(ctx context.Context) error {
	defer g.enter(Stopped)
	r := &run{group: g, failed: make(chan error, len(g.parts))}
	complete, err := r.start(ctx)
	if complete {
		g.enter(Ready)
		close(g.ready)
		err = r.wait(ctx)
	}
	return errors.Join(err, r.shutdown(context.WithoutCancel(ctx)))
}

func (g *Group) enter(s State) {
	g.state.Store(int32(s))
	g.log.Info("lifecycle", "state", s.String())
}

// run is the state of one Run.
type run struct {
	group   *Group
	running []*runningPart // started parts, in order
	failed  chan error     // one slot for each part
}

type runningPart struct {
	Part
	cancel   context.CancelFunc
	stopping atomic.Bool   // set before Part.Stop is called
	done     chan struct{} // closed when Part.Run has returned
}

// start reports whether all parts have started. To be asked to stop meanwhile
// is no failure.
func (r *run) start(ctx context.Context) (complete bool, err error) {
	for _, p := range r.group.parts {
		if ctx.Err() != nil {
			return false, nil
		}
		if err := call(ctx, p.Start); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return false, nil
			}
			return false, fmt.Errorf("start %s: %w", p.Name, err)
		}
		r.launch(context.WithoutCancel(ctx), p)
	}
	return true, nil
}

func (r *run) launch(ctx context.Context, p Part) {
	ctx, cancel := context.WithCancel(ctx)
	rp := &runningPart{Part: p, cancel: cancel, done: make(chan struct{})}
	r.running = append(r.running, rp)
	if p.Run == nil {
		close(rp.done)
		return
	}
	go func() {
		defer close(rp.done)
		err := p.Run(ctx)
		switch {
		case rp.stopping.Load() && (err == nil || errors.Is(err, context.Canceled)):
		case err == nil:
			r.failed <- fmt.Errorf("run %s: ended unasked", p.Name)
		default:
			r.failed <- fmt.Errorf("run %s: %w", p.Name, err)
		}
	}()
}

func (r *run) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.failed:
		return err
	}
}

// shutdown drains and stops all parts that started, last first. When HardStop
// has passed it leaves what still hangs and says so.
func (r *run) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := make(chan error, 1)
	limit := r.group.clock.NewTimer(HardStop)
	defer limit.Stop()
	go func() { finished <- r.drainAndStop(ctx) }()
	select {
	case err := <-finished:
		return err
	case <-limit.C():
		return fmt.Errorf("stop: parts still hang after %s", HardStop)
	}
}

func (r *run) drainAndStop(ctx context.Context) error {
	var errs []error
	if r.group.State() == Ready {
		r.group.enter(Draining)
		errs = r.downward(errs, func(p *runningPart) error { return wrap("drain", p.Name, call(ctx, p.Drain)) })
	}
	r.group.enter(Stopping)
	errs = r.downward(errs, func(p *runningPart) error {
		p.stopping.Store(true)
		err := wrap("stop", p.Name, call(ctx, p.Stop))
		p.cancel()
		<-p.done
		return err
	})
	return errors.Join(append(errs, r.lateFailures()...)...)
}

func (r *run) downward(errs []error, f func(*runningPart) error) []error {
	for i := len(r.running) - 1; i >= 0; i-- {
		if err := f(r.running[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (r *run) lateFailures() (errs []error) {
	for {
		select {
		case err := <-r.failed:
			errs = append(errs, err)
		default:
			return errs
		}
	}
}

func call(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func wrap(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}
