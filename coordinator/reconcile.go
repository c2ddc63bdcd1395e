package coordinator

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// watch reconciles the coordinator to every change of metadata.
func (s *Service) watch(ctx context.Context) {
	for {
		changed := s.meta.Changed()
		s.lease.seen(s.meta.View().Revision, s.cfg.Lease)
		s.reconcile()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// reconcile makes the shards that are held here those that the newest View
// gives. It waits for nothing.
func (s *Service) reconcile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := s.given() // under the lock, so that no older View is applied after a newer
	for _, index := range slices.Sorted(maps.Keys(s.holdings)) {
		if epoch, still := given[index]; !still || epoch != s.holdings[index].epoch {
			s.giveUp(s.holdings[index])
		}
	}
	var fresh []*holding
	for _, index := range slices.Sorted(maps.Keys(given)) {
		if s.holdings[index] == nil && given[index] > s.yielded[index] {
			h := &holding{index: index, epoch: given[index]}
			s.holdings[index] = h
			fresh = append(fresh, h)
		}
	}
	if len(fresh) > 0 {
		since := s.clk.Now()
		s.acquiring.Go(func() { s.takeOver(fresh, since) })
	}
}

// given are the epochs of the shards that the View gives to this incarnation.
func (s *Service) given() map[int32]int64 {
	view := s.meta.View()
	me := view.Coordinators[s.cfg.ID]
	if s.draining.Load() || me == nil || me.Fenced || me.Incarnation != s.incarnation {
		return nil
	}
	given := map[int32]int64{}
	for i, x := range view.Shards {
		if x.Owner == s.cfg.ID {
			given[int32(i)] = x.Epoch
		}
	}
	return given
}

// giveUp lets go of a shard; the caller holds mu.
func (s *Service) giveUp(h *holding) {
	delete(s.holdings, h.index)
	h.givenUp.Store(true)
	s.acquiring.Go(h.stop)
}

// takeOver starts shards once all who may have owned them serve them no longer
// (invariant 21).
func (s *Service) takeOver(fresh []*holding, since time.Time) {
	s.askForRelease(fresh, since)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range fresh {
		if !h.givenUp.Load() {
			s.start(h)
		}
	}
	s.log.Info("shards taken over", slog.Int("shards", len(fresh)), slog.Int("held", len(s.holdings)))
}
