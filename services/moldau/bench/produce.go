package bench

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Produce sends as much as the window of unanswered requests lets through, or
// by a fixed schedule where a rate is given.
func Produce(ctx context.Context, cfg Config) (*Report, error) {
	return on(ctx, "produce", cfg, func(ctx context.Context, r *run) error {
		return r.load(ctx, false)
	})
}

// load produces and fills the report in.
func (r *run) load(ctx context.Context, tailed bool) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if r.cfg.Rate > 0 { // a nap keeps a processor to itself
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + r.cfg.Connections))
	}
	base := r.clk.Now()
	senders, err := r.senders(ctx, base, tailed)
	if err != nil {
		return err
	}
	begin := r.clk.Now()
	m := newMeter(begin.Add(r.cfg.Warmup), r.cfg.Duration, r.cfg.Bytes > 0)
	var tail *tail
	if tailed {
		if tail, err = r.tail(ctx, base, m); err != nil {
			return err
		}
	}
	var sent atomic.Int64 // records
	watch := r.watch(ctx, m)
	var group errgroup.Group
	for i, s := range senders {
		group.Go(func() error {
			l := loop{r: r, m: m, s: s, partitions: share(r.partitions, i, len(senders)), fail: fail}
			defer func() { sent.Add(l.n * int64(s.records())) }()
			if r.cfg.Rate > 0 {
				return l.open(ctx, newSchedule(begin, r.cfg.Rate/float64(s.records()), i, len(senders)))
			}
			return l.closed(ctx)
		})
	}
	err = group.Wait()
	for _, s := range senders {
		err = errors.Join(err, s.close(ctx))
	}
	used := watch.stop()
	if cause := context.Cause(ctx); cause != nil {
		return cause // what the others died of
	}
	if err != nil {
		return err
	}
	if tail != nil {
		if err := tail.end(ctx, sent.Load()); err != nil {
			return err
		}
	}
	r.report.fill(m, used)
	return nil
}

func (r *run) senders(ctx context.Context, base time.Time, stamped bool) ([]sender, error) {
	var all []sender
	for i := range r.clients {
		s, err := r.newSender(ctx, i, base, stamped)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// loop is what one connection sends.
type loop struct {
	r          *run
	m          *meter
	s          sender
	partitions []int32
	fail       context.CancelCauseFunc
	n          int64 // sends
	counted    int64 // bytes of those within the window
}

// closed sends as soon as there is room.
func (l *loop) closed(ctx context.Context) error {
	for !l.done(ctx, l.r.clk.Now()) {
		if err := l.s.enter(ctx); err != nil {
			return err
		}
		if err := l.send(ctx, l.r.clk.Now()); err != nil {
			return err
		}
	}
	return nil
}

// open sends when it is due, however late the answers are.
func (l *loop) open(ctx context.Context, s schedule) error {
	defer punctual()()
	for due := s.due(0); !l.done(ctx, due); due = s.due(l.n) {
		if err := waitUntil(ctx, l.r.clk, due); err != nil {
			return err
		}
		l.m.sent(due, l.r.clk.Now())
		if err := l.s.enter(ctx); err != nil {
			return err
		}
		if err := l.send(ctx, due); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) done(ctx context.Context, due time.Time) bool {
	enough := l.r.cfg.Bytes > 0 && l.counted >= l.r.cfg.Bytes/int64(l.r.cfg.Connections)
	return ctx.Err() != nil || l.m.over(due) || enough
}

func (l *loop) send(ctx context.Context, due time.Time) error {
	records := l.s.records()
	bytes := int64(records) * int64(l.r.cfg.RecordBytes)
	partition := l.partitions[l.n%int64(len(l.partitions))]
	l.n++
	if !due.Before(l.m.from) {
		l.counted += bytes
	}
	return l.s.send(ctx, partition, due, func(err error) {
		if err != nil {
			l.fail(err)
			return
		}
		l.m.arrived(due, l.r.clk.Now(), records, bytes)
	})
}
