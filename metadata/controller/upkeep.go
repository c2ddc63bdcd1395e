package controller

import (
	"maps"
	"slices"
	"time"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

const (
	// shardsAtOnce bounds the shards that move to a coordinator at each look.
	shardsAtOnce = 8
	// planEvery is how often moves off evacuated nodes are looked for.
	planEvery = time.Second
	// forgetAfter is how long a gateway or coordinator may be fenced before it is
	// forgotten.
	forgetAfter = time.Hour
)

// look does what is due without anyone asking: it fences the silent, hands out
// shards and plans moves.
func (t *term) look() {
	now := t.c.clk.Now()
	t.blameSelf(now)
	for _, job := range []func(time.Time) error{t.fenceNodes, t.fenceMembers, t.shareShards, t.evacuate, t.balance} {
		if err := job(now); err != nil || t.failed != nil {
			return
		}
	}
}

// blameSelf forgives everyone where the loop itself was stalled and heard
// nobody (C9).
func (t *term) blameSelf(now time.Time) {
	if now.Sub(t.lastTick) > t.c.cfg.FenceTimeout/2 {
		for _, l := range []*liveness{t.nodes, t.gateways, t.coordinators} {
			l.forgive(now)
		}
	}
	t.lastTick = now
}

func (t *term) fenceNodes(now time.Time) error {
	live := unfenced(t.image.State.Nodes)
	for _, id := range t.nodes.overdue(now, live) {
		t.c.log.Warn("node is silent, fencing it", "node_id", id, "silent_for", t.nodes.silent(id, now))
		if err := t.apply(cluster.FenceNode{NodeID: id}); err != nil {
			return err
		}
	}
	return nil
}

func (t *term) fenceMembers(now time.Time) error {
	s := t.image.State
	if dead := t.gateways.overdue(now, unfenced(s.Gateways)); len(dead) > 0 {
		t.c.log.Warn("gateways are silent, fencing them", "broker_ids", dead)
		if err := t.apply(cluster.FenceGateways{BrokerIDs: dead}); err != nil {
			return err
		}
	}
	if dead := t.coordinators.overdue(now, unfenced(s.Coordinators)); len(dead) > 0 {
		t.c.log.Warn("coordinators are silent, fencing them", "coordinator_ids", dead)
		if err := t.apply(cluster.FenceCoordinators{IDs: dead}); err != nil {
			return err
		}
	}
	if old := long(now, t.gateways, s.Gateways); len(old) > 0 {
		if err := t.apply(cluster.ForgetGateways{BrokerIDs: old}); err != nil {
			return err
		}
	}
	if old := long(now, t.coordinators, s.Coordinators); len(old) > 0 {
		return t.apply(cluster.ForgetCoordinators{IDs: old})
	}
	return nil
}

type fenceable interface{ GetFenced() bool }

func unfenced[T fenceable](all map[int32]T) []int32 {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id int32) bool { return all[id].GetFenced() })
}

// long lists some of those that have been fenced for long.
func long[T fenceable](now time.Time, l *liveness, all map[int32]T) []int32 {
	old := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id int32) bool {
		return !all[id].GetFenced() || l.silent(id, now) < forgetAfter
	})
	return old[:min(len(old), fencedAtOnce)]
}

func (t *term) shareShards(time.Time) error {
	if err := t.createInternalTopics(); err != nil {
		return err
	}
	return t.apply(cluster.BalanceShards{Most: shardsAtOnce})
}

func (t *term) createInternalTopics() error {
	if !t.image.State.NeedsInternalTopics() {
		return nil
	}
	return t.apply(cluster.CreateInternalTopics{
		IDs: [2]topicid.ID{topicid.New(), topicid.New()}, CreateTimeMs: t.c.clk.Now().UnixMilli(),
	})
}

func (t *term) evacuate(now time.Time) error {
	if now.Sub(t.planned) < planEvery {
		return nil
	}
	t.planned = now
	return t.move("moving replicas off nodes or to more of them", t.image.State.PlanMoves(t.c.cfg.MaxMoves))
}

func (t *term) balance(now time.Time) error {
	if every := t.c.cfg.BalanceInterval; every == 0 || now.Sub(t.balanced) < every {
		return nil
	}
	t.balanced = now
	if change := t.image.State.BalanceLeaders(); change != nil {
		if err := t.apply(change); err != nil {
			return err
		}
		if n := len(change.Results); n > 0 {
			t.c.log.Info("preferred leaders lead again", "partitions", n)
		}
	}
	return t.move("balancing replicas", t.image.State.BalanceReplicas(t.c.cfg.MaxMoves))
}

func (t *term) move(why string, moves []*metadatav1.Reassignment) error {
	if len(moves) == 0 {
		return nil
	}
	t.c.log.Info(why, "partitions", len(moves))
	return t.apply(&cluster.AlterReassignments{Moves: moves})
}
