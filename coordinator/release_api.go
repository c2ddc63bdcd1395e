package coordinator

import (
	"context"
	"sync"
	"time"

	"moldau.dev/coordinator/coordinatorclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/telemetry"
)

const (
	releaseTimeout = time.Second // of one call
	releasePause   = 100 * time.Millisecond
)

// ReleaseShards implements coordinatorclient.Peer: the caller owns shards now.
// It is answered once they are served here no longer.
func (s *Service) ReleaseShards(_ context.Context, req *coordinatorv1.ReleaseShardsRequest) (*coordinatorv1.ReleaseShardsResponse, error) {
	var stopping sync.WaitGroup
	s.mu.Lock()
	for _, x := range req.GetShards() {
		s.yielded[x.GetShard()] = max(s.yielded[x.GetShard()], x.GetEpoch()-1)
		if h := s.holdings[x.GetShard()]; h != nil && h.epoch < x.GetEpoch() {
			delete(s.holdings, h.index)
			h.givenUp.Store(true)
			stopping.Go(h.stop)
		}
	}
	s.mu.Unlock()
	stopping.Wait()
	return &coordinatorv1.ReleaseShardsResponse{}, nil
}

// askForRelease returns when no other coordinator serves shards that this one
// has been given since some time. A live one says so; one that is fenced may
// not, as its lease has run out before; one that does not answer may not either,
// a lease after this one was given them.
func (s *Service) askForRelease(fresh []*holding, since time.Time) {
	req := &coordinatorv1.ReleaseShardsRequest{}
	for _, h := range fresh {
		req.Shards = append(req.Shards, &coordinatorv1.ReleasedShard{Shard: h.index, Epoch: h.epoch})
	}
	var asking sync.WaitGroup
	for id, c := range s.meta.View().Coordinators {
		if id != s.cfg.ID && !c.Fenced {
			asking.Go(func() { s.askUntilReleased(id, c.Incarnation, req, since) })
		}
	}
	asking.Wait()
}

func (s *Service) askUntilReleased(id int32, incarnation string, req *coordinatorv1.ReleaseShardsRequest, since time.Time) {
	for s.taking.Err() == nil && s.clk.Since(since) < s.cfg.Lease {
		changed := s.meta.Changed()
		if c := s.meta.View().Coordinators[id]; c == nil || c.Fenced || c.Incarnation != incarnation {
			return
		}
		peer, err := s.peers.Peer(id)
		if err == nil {
			err = s.release(peer, req)
		}
		if err == nil {
			return
		}
		s.log.Debug("a coordinator has not released shards; asking again", "coordinator", id, telemetry.Err(err))
		timer := s.clk.NewTimer(releasePause)
		select {
		case <-changed:
		case <-timer.C():
		case <-s.taking.Done():
		}
		timer.Stop()
	}
}

func (s *Service) release(peer coordinatorclient.Peer, req *coordinatorv1.ReleaseShardsRequest) error {
	ctx, cancel := context.WithCancel(s.taking)
	defer cancel()
	defer s.clk.AfterFunc(releaseTimeout, cancel).Stop()
	_, err := peer.ReleaseShards(ctx, req)
	return err
}
