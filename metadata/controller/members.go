package controller

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// GatewayBeat notes a gateway's sign of life. The first one registers it, and
// one that leaves is no longer shown to clients.
func (c *Controller) GatewayBeat(ctx context.Context, g *metadatav1.GatewayState, leaving bool) error {
	at := c.clk.Now()
	return c.do(ctx, func(t *term) error {
		id, old := g.GetBrokerId(), t.image.State.Gateways[g.GetBrokerId()]
		m := member{"broker", id, old.GetIncarnation(), g.GetIncarnation(), old.GetFenced() ||
			old.GetKafkaAddress() == g.GetKafkaAddress() && old.GetGrpcAddress() == g.GetGrpcAddress()}
		if err := t.admit(t.gateways, m); err != nil {
			return err
		}
		if leaving {
			return t.apply(cluster.FenceGateways{BrokerIDs: []int32{id}})
		}
		if err := t.apply(cluster.RegisterGateway{Gateway: g}); err != nil {
			return err
		}
		t.gateways.beat(id, at)
		return nil
	})
}

// CoordinatorBeat notes a coordinator's sign of life. The first one registers
// it, and one that leaves gives up its shards.
func (c *Controller) CoordinatorBeat(ctx context.Context, s *metadatav1.CoordinatorState, leaving bool) error {
	at := c.clk.Now()
	return c.do(ctx, func(t *term) error {
		id, old := s.GetCoordinatorId(), t.image.State.Coordinators[s.GetCoordinatorId()]
		m := member{"coordinator", id, old.GetIncarnation(), s.GetIncarnation(), old.GetFenced() || old.GetAddress() == s.GetAddress()}
		if err := t.admit(t.coordinators, m); err != nil {
			return err
		}
		if leaving {
			return t.apply(cluster.FenceCoordinators{IDs: []int32{id}})
		}
		if err := t.apply(cluster.RegisterCoordinator{Coordinator: s}); err != nil {
			return err
		}
		t.coordinators.beat(id, at)
		return t.createInternalTopics()
	})
}

// member is one that beats under an id, beside whom that id was registered for.
type member struct {
	kind     string
	id       int32
	old, now string // incarnations
	// over: the old one is fenced, or was at the same address, where two cannot
	// be.
	over bool
}

// admit tells whether the incarnation that beats may have the id. One that
// another has taken the place of does not get it back.
func (t *term) admit(l *liveness, m member) error {
	if t.superseded[m.now] {
		return errcode.New(errcode.StaleNodeEpoch, "%s %d was started anew", m.kind, m.id).WithHint("Stop this one, or give it an id of its own.")
	}
	if m.old == "" || m.old == m.now {
		return nil
	}
	if left := l.timeout - l.silent(m.id, t.c.clk.Now()); !m.over && left > 0 {
		return errcode.New(errcode.NodeUnavailable, "%s %d is another incarnation that is still alive", m.kind, m.id).WithRetryAfter(left).
			WithHint("Retry: it is fenced once its heartbeats stop. If they do not stop, two share one id.")
	}
	t.superseded[m.old] = true
	return nil
}
