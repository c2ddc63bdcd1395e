package main

import (
	"context"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// latency sends one record at a time by a fixed schedule, whatever the broker
// does, and counts from when each was due (no coordinated omission).
func latency(ctx context.Context, cfg config) (*report, error) {
	m := newMeter(cfg)
	cfg.inFlight = 1 << 16 // nothing but the schedule holds a send back
	group, ctx := errgroup.WithContext(ctx)
	addrs, err := leaders(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for i := range cfg.connections {
		p, err := newProducing(ctx, cfg, addrs, i)
		if err != nil {
			return nil, err
		}
		p.records = 1
		if err := p.encode(1); err != nil {
			return nil, err
		}
		group.Go(func() error { return p.sendAtRate(ctx, m, cfg.rate/float64(cfg.connections)) })
		group.Go(func() error { return p.receive(m) })
	}
	group.Go(func() error { return m.watch(ctx) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m.report(), nil
}

func (p *producing) sendAtRate(ctx context.Context, m *meter, rate float64) error {
	defer close(p.sent)
	runtime.LockOSThread() // a thread that sleeps is nobody else's
	defer runtime.UnlockOSThread()
	begun, gap := time.Now(), time.Duration(float64(time.Second)/rate)
	for i := 0; !m.over(); i++ {
		due := begun.Add(time.Duration(i) * gap)
		if wait := time.Until(due); wait > 0 {
			sleep := syscall.NsecToTimespec(wait.Nanoseconds())
			_ = syscall.Nanosleep(&sleep, nil) // Go's own sleep is half a millisecond late
		}
		m.lateness(time.Since(due))
		select {
		case p.sent <- due:
		case <-ctx.Done():
			return ctx.Err()
		}
		frame := p.frame(p.partitions[i%len(p.partitions)])
		if _, err := frame.WriteTo(p.c.net); err != nil {
			return err
		}
	}
	return nil
}
