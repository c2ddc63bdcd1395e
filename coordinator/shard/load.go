package shard

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/services/telemetry"
)

const (
	firstLoadPause = 50 * time.Millisecond
	lastLoadPause  = 10 * time.Second
)

// load replays the journal into a new machine. It tries until it succeeds, and
// returns nil once the shard is lost or stopped. Meanwhile all questions are
// answered.
func (s *Shard) load() *life {
	loaded := make(chan *life, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		loaded <- s.tryLoading()
	}()
	s.refuseUntil(done, s.loading)
	return <-loaded
}

func (s *Shard) tryLoading() *life {
	pause := firstLoadPause
	for {
		l, err := s.loadOnce()
		switch {
		case err == nil:
			return l
		case s.wanted.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrFenced):
			s.enter(Lost)
			s.log.Warn("the shard has a newer owner", telemetry.Err(err))
			return nil
		}
		s.log.Error("the journal cannot be loaded; trying again", telemetry.Err(err))
		if !s.sleep(pause/2 + rand.N(pause/2)) { //nolint:gosec // jitter
			return nil
		}
		pause = min(2*pause, lastLoadPause)
	}
}

func (s *Shard) sleep(d time.Duration) bool {
	timer := s.deps.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-s.wanted.Done():
		return false
	}
}

func (s *Shard) loadOnce() (*life, error) {
	began, records := s.deps.Clock.Now(), 0
	machine := s.deps.NewMachine()
	j, err := journal.Open(s.wanted, journal.Config{
		Topic: s.cfg.Topic, Partition: s.cfg.Shard, OwnerEpoch: s.cfg.Epoch, CallTimeout: s.cfg.CallTimeout,
	}, journal.Deps{
		Clock: s.deps.Clock, Log: s.log, Metadata: s.deps.Metadata, Nodes: s.deps.Nodes,
	}, func(r journal.Record) error {
		records++
		return machine.Replay(r)
	})
	if err != nil {
		return nil, err
	}
	took := s.deps.Clock.Since(began)
	s.deps.Metrics.Load.Observe(took.Seconds())
	s.log.Debug("shard loaded", slog.Int("records", records), telemetry.Took(took))
	calls, cancel := context.WithCancel(s.wanted)
	return &life{
		shard: s, machine: machine, journal: j, calls: calls, cancelCalls: cancel,
		tickets: map[Ticket]chan<- answer{}, appended: make(chan error, 1), results: make(chan Result),
	}, nil
}
