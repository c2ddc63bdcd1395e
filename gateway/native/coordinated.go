package native

import (
	"context"
	"math/rand/v2"
	"time"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// noCoordinators answers UNIMPLEMENTED to all.
type noCoordinators struct {
	coordinatorv1.UnimplementedCoordinatorServiceServer
}

const (
	firstCoordinatorPause = 10 * time.Millisecond
	lastCoordinatorPause  = 500 * time.Millisecond
)

// coordinated asks the coordinators, and asks again while what keeps them from
// answering passes by itself: a coordinator that moves, or a transaction that
// still completes. It is for requests that may be repeated, and gives up in
// time to tell the caller why.
func coordinated[A any](ctx context.Context, s *Server, ask func(context.Context) (A, error)) (A, error) {
	pause := firstCoordinatorPause
	for {
		answer, err := ask(ctx)
		if err == nil || !passing(err) || !s.pause(ctx, pause) {
			return answer, err
		}
		pause = min(2*pause, lastCoordinatorPause)
	}
}

func passing(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.ConcurrentTransactions, errcode.CoordinatorLoading, errcode.CoordinatorUnavailable, errcode.NotCoordinator, errcode.UnstableOffset:
		return true
	default:
		return false
	}
}

// pause returns false where too little time is left to wait and ask again.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	d = d/2 + rand.N(d/2) //nolint:gosec // jitter
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(s.clk.Now()) < d+waitMargin {
		return false
	}
	timer := s.clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}
