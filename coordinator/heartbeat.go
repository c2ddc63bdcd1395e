package coordinator

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
)

// lease is until when nobody else can be given what this coordinator has (R12).
// A sign of life extends it once the View has seen all that the controller knew
// when it confirmed it: one that is heard, but hears of nothing, has none.
type lease struct {
	until atomic.Pointer[time.Time]

	mu        sync.Mutex
	confirmed []confirmation // that the View has not caught up with, by time
}

// confirmation is a sign of life that the controller has confirmed.
type confirmation struct {
	sent     time.Time
	revision int64 // of the controller
}

// confirm notes a confirmation.
func (l *lease) confirm(c confirmation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed = append(l.confirmed, c)
}

// seen extends the lease by what a View has caught up with.
func (l *lease) seen(revision int64, length time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.confirmed) > 0 && l.confirmed[0].revision <= revision {
		until := l.confirmed[0].sent.Add(length)
		l.until.Store(&until)
		l.confirmed = l.confirmed[1:]
	}
	const most = 100 // those that do not count any more
	if extra := len(l.confirmed) - most; extra > 0 {
		l.confirmed = l.confirmed[extra:]
	}
}

func (l *lease) holds(now time.Time) bool {
	until := l.until.Load()
	return until != nil && now.Before(*until)
}

// register beats until the controller has confirmed it once.
func (s *Service) register(ctx context.Context) error {
	for {
		err := s.beat(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !errcode.Of(err).Retryable() {
			return fmt.Errorf("register coordinator %d: %w", s.cfg.ID, err)
		}
		s.log.Warn("the controller did not register the coordinator; trying again", telemetry.Err(err))
		if !pause(ctx, s.clk, s.cfg.HeartbeatInterval) {
			return ctx.Err()
		}
	}
}

// beatOn tells the controller that the coordinator lives, until ctx ends.
func (s *Service) beatOn(ctx context.Context) {
	for pause(ctx, s.clk, s.cfg.HeartbeatInterval) {
		if err := s.beat(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("heartbeat failed", telemetry.Err(err))
		}
	}
}

// beat sends one sign of life, or, while draining, that the coordinator leaves.
func (s *Service) beat(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.clk.AfterFunc(s.cfg.Lease, cancel).Stop()
	sent, leaves := s.clk.Now(), s.draining.Load()
	r, err := s.meta.Heartbeat(ctx, &metadatav1.HeartbeatRequest{
		NodeId: -1, Revision: s.meta.View().Revision, Draining: leaves,
		Coordinator: &metadatav1.CoordinatorState{CoordinatorId: s.cfg.ID, Incarnation: s.incarnation, Address: s.cfg.Advertise},
	})
	if err == nil && !leaves {
		s.lease.confirm(confirmation{sent, r.GetRevision()})
		s.lease.seen(s.meta.View().Revision, s.cfg.Lease)
	}
	return err
}

// pause waits for d, and reports false where ctx ended first.
func pause(ctx context.Context, clk clock.Clock, d time.Duration) bool {
	timer := clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}
