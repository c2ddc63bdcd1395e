package controller

import (
	"context"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// maxPlan bounds the moves of a plan that is only shown.
const maxPlan = 10_000

// Balance is what a rebalancing does.
type Balance struct {
	Moves    []*metadatav1.Reassignment
	Leaders  int // that changed
	Revision int64
}

// Rebalance evens out replicas and leaders now, whatever the cluster's settings
// say, as far as moves may run at once. With planOnly it changes nothing, and
// plans all of it.
func (c *Controller) Rebalance(ctx context.Context, planOnly bool) (Balance, error) {
	if planOnly {
		return ask(ctx, c, (*term).planBalance)
	}
	return ask(ctx, c, func(t *term) (Balance, error) {
		b := Balance{Moves: t.image.State.PlanBalance(t.c.cfg.MaxMoves)}
		if err := t.apply(&cluster.AlterReassignments{Moves: b.Moves}); err != nil {
			return Balance{}, err
		}
		leaders := &cluster.ElectLeaders{}
		if err := t.apply(leaders); err != nil {
			return Balance{}, err
		}
		b.Leaders, b.Revision = len(leaders.Results), t.image.Revision
		return b, nil
	})
}

func (t *term) planBalance() (Balance, error) {
	b := Balance{Moves: t.image.State.PlanBalance(maxPlan), Revision: t.image.Revision}
	leaders := &cluster.ElectLeaders{}
	next, _, err := t.image.State.Apply(&cluster.AlterReassignments{Moves: b.Moves})
	if err == nil {
		_, _, err = next.Apply(leaders)
	}
	b.Leaders = len(leaders.Results)
	return b, err
}
