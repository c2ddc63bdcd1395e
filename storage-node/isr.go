package storagenode

import (
	"context"
	"sync"
	"time"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/replication"
)

// controllerPatience is how long an answer of the controller is waited for.
const controllerPatience = 3 * time.Second

// isrChanges takes proposals of in-sync replicas to the controller: all that
// gathered while the last ones were under way go as one (as Kafka's
// AlterPartitionManager).
type isrChanges struct {
	node *Service
	kick chan struct{}

	mu      sync.Mutex
	waiting []isrChange
}

type isrChange struct {
	p *partition
	replication.Propose
}

func newISRChanges(s *Service) *isrChanges { return &isrChanges{node: s, kick: make(chan struct{}, 1)} }

func (c *isrChanges) propose(p *partition, change replication.Propose) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, isrChange{p, change})
	wake(c.kick)
}

// run carries proposals until ctx ends.
func (c *isrChanges) run(ctx context.Context) {
	for {
		select {
		case <-c.kick:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		changes := c.waiting
		c.waiting = nil
		c.mu.Unlock()
		if len(changes) > 0 {
			c.ask(ctx, changes)
		}
	}
}

func (c *isrChanges) ask(ctx context.Context, changes []isrChange) {
	req := &metadatav1.AlterPartitionsRequest{NodeId: c.node.cfg.NodeID, NodeEpoch: c.node.nodeEpoch.Load()}
	for i := range changes {
		req.Partitions = append(req.Partitions, changes[i].wire())
	}
	ctx, cancel := c.node.within(ctx, controllerPatience)
	defer cancel()
	resp, err := c.node.meta.AlterPartitions(ctx, req)
	if err == nil && len(resp.Results) != len(changes) {
		err = errcode.New(errcode.Internal, "the controller answered for %d partitions, %d were asked", len(resp.Results), len(changes))
	}
	if err != nil && ctx.Err() == nil {
		c.node.log.Warn("controller did not change in-sync replicas; trying again", telemetry.Err(err))
	}
	for i := range changes {
		a := replication.Altered{PartitionEpoch: changes[i].PartitionEpoch, Reason: errcode.RequestTimedOut}
		if err == nil {
			a.Reason, a.Partition = changes[i].p.outcome(resp.Results[i])
		}
		changes[i].p.altered(changes[i].LeaderEpoch, a)
	}
}

func (c *isrChange) wire() *metadatav1.AlterPartition {
	w := &metadatav1.AlterPartition{
		TopicId: c.p.id.Topic[:], Partition: c.p.id.Index, LeaderEpoch: c.LeaderEpoch, PartitionEpoch: c.PartitionEpoch,
		Recovering: c.Recovering,
	}
	for _, m := range c.ISR {
		w.Isr = append(w.Isr, &metadatav1.InSyncReplica{NodeId: m.Node, NodeEpoch: m.NodeEpoch})
	}
	return w
}

// outcome is what the controller says of one partition.
func (p *partition) outcome(r *metadatav1.AlterPartitionResult) (errcode.Reason, *replication.Partition) {
	var why errcode.Reason
	if e := r.GetError(); e.GetReason() != "" {
		why = errcode.Internal
		if known, ok := errcode.ParseReason(e.GetReason()); ok {
			why = known
		}
	}
	s := r.GetState()
	if s == nil {
		return why, nil
	}
	state := stateOf(&metadataclient.Partition{
		Leader: s.GetLeader(), LeaderEpoch: s.GetLeaderEpoch(), PartitionEpoch: s.GetPartitionEpoch(), Replicas: s.GetReplicas(),
		ISR: s.GetIsr(), MinISR: s.GetMinInsyncReplicas(), Recovering: s.GetRecovering(),
	}, &p.role.Load().config, p.node.meta.View().Nodes)
	return why, &state
}

// altered tells the core what became of its proposal, if it is still the core of
// that leader epoch.
func (p *partition) altered(epoch int32, a replication.Altered) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.became.Load(); b != nil && b.leaderEpoch == epoch {
		p.step(a)
	}
}

// within bounds a call by the node's clock.
func (s *Service) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	timer := s.clock.AfterFunc(d, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}
