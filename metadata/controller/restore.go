package controller

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	"moldau.dev/services/clock"
)

// acceptPatience is for one try to get the lease from those that refuse the
// store, and so take it and give it back all the time.
const acceptPatience = time.Second

// AcceptRestore makes what the store holds the truth, though later states were
// seen: a new generation, with all epochs above those that were lost (C11). An
// operator asks for it, when nothing newer can be restored. It deposes whoever
// leads, and returns the new generation.
func AcceptRestore(ctx context.Context, cfg Config, clk clock.Clock, log *slog.Logger, st store.Store) (generation int64, err error) {
	lease, err := seize(ctx, cfg.Address, st)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
	t, err := New(cfg, clk, log, st).load(ctx, lease)
	if err != nil {
		return 0, err
	}
	accepted := *t.image
	accepted.Lineage = nextGeneration(t.image.Lineage)
	t.image = &accepted
	if err := t.apply(cluster.Rebase{}); err != nil {
		return 0, err
	}
	return t.image.Lineage.GetGeneration(), nil
}

func seize(ctx context.Context, candidate string, st store.Store) (store.Lease, error) {
	for {
		h, err := st.Holder(ctx)
		if err == nil {
			err = st.Depose(ctx, h)
		}
		if err != nil {
			return nil, err
		}
		try, cancel := context.WithTimeout(ctx, acceptPatience)
		lease, err := st.Elect(try, candidate)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return lease, err
		}
	}
}
