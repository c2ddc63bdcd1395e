package coordinator

import (
	"sync/atomic"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/services/errcode"
)

// holding is one shard that this coordinator was given under one epoch: the
// groups and the transactions of one index.
type holding struct {
	index int32
	epoch int64
	// givenUp is set before the holding is stopped: it answers nothing from then
	// on.
	givenUp atomic.Bool

	// Set under Service.mu, once those who may have owned the shard serve it no
	// longer.
	groups, transactions *shard.Shard
}

// owned tells whether the shard is this coordinator's at this moment. It is
// asked before each answer.
func (s *Service) owned(h *holding) bool {
	if h.givenUp.Load() || !s.lease.holds(s.clk.Now()) {
		return false
	}
	view := s.meta.View()
	return int(h.index) < len(view.Shards) && view.Shards[h.index].Owner == s.cfg.ID && view.Shards[h.index].Epoch == h.epoch
}

// start starts the machines of a shard.
func (s *Service) start(h *holding) {
	cfg := shard.Config{
		Name: "group", Shard: h.index, Epoch: h.epoch, Topic: group.OffsetsTopic,
		AppendTimeout: s.cfg.AppendTimeout, CallTimeout: s.cfg.CallTimeout, MaxWaiting: s.cfg.MaxWaiting,
	}
	deps := shard.Deps{
		Clock: s.clk, Log: s.log, Metadata: s.meta, Nodes: s.nodes, Metrics: s.groupMetrics,
		NewMachine: func() shard.Machine { return group.New(s.cfg.Groups) },
		Do:         (&groupCalls{peers: s.peers}).Do,
		Owned:      func() bool { return s.owned(h) },
	}
	h.groups = shard.Start(cfg, deps)
	cfg.Name, cfg.Topic = "transaction", txn.Topic
	deps.Metrics, deps.Do = s.transactionMetrics, s.calls.Do
	deps.NewMachine = func() shard.Machine { return txn.New(s.cfg.Transactions) }
	h.transactions = shard.Start(cfg, deps)
}

// stop returns when nothing of the shard runs here any more; givenUp is set.
func (h *holding) stop() {
	for _, x := range []*shard.Shard{h.groups, h.transactions} {
		if x != nil {
			x.Stop()
		}
	}
}

func (s *Service) groupShard(index int32) (*shard.Shard, error) {
	return s.find(index, func(h *holding) *shard.Shard { return h.groups })
}

func (s *Service) transactionShard(index int32) (*shard.Shard, error) {
	return s.find(index, func(h *holding) *shard.Shard { return h.transactions })
}

func (s *Service) find(index int32, which func(*holding) *shard.Shard) (*shard.Shard, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holdings[index]
	if h == nil {
		return nil, errcode.New(errcode.NotCoordinator, "coordinator %d does not own shard %d", s.cfg.ID, index)
	}
	if x := which(h); x != nil {
		return x, nil
	}
	return nil, errcode.New(errcode.CoordinatorLoading, "shard %d is being taken over", index)
}

func (s *Service) groupShards() map[int32]*shard.Shard {
	return s.all(func(h *holding) *shard.Shard { return h.groups })
}

func (s *Service) transactionShards() map[int32]*shard.Shard {
	return s.all(func(h *holding) *shard.Shard { return h.transactions })
}

// all are the shards that were given to this coordinator; nil are those that
// are still being taken over.
func (s *Service) all(which func(*holding) *shard.Shard) map[int32]*shard.Shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	shards := make(map[int32]*shard.Shard, len(s.holdings))
	for index, h := range s.holdings {
		shards[index] = which(h)
	}
	return shards
}
