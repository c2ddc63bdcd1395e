package coordinatorclient

import (
	"context"
	"math/rand/v2"
	"time"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
	// patience bounds how long one call looks for the owner of its shard.
	patience = 5 * time.Second
)

// Options shape a Router. The zero value works.
type Options struct {
	Clock     clock.Clock // default: the real one
	Transport transport.DialOptions
}

// Router is the Client of a cluster.
type Router struct {
	meta metadataclient.Client
	clk  clock.Clock
	pool pool
}

var _ Client = (*Router)(nil)

// New returns a Client that finds owners in meta's View. It connects when first
// used.
func New(meta metadataclient.Client, opts Options) *Router {
	if opts.Clock == nil {
		opts.Clock = clock.Real()
	}
	return &Router{meta: meta, clk: opts.Clock, pool: pool{
		opts: opts.Transport, local: map[int32]Peer{}, remote: map[int32]*dialed{},
	}}
}

// AddLocal makes c the door of coordinator id, which lives in this process.
func (r *Router) AddLocal(id int32, c Peer) { r.pool.addLocal(id, c) }

// Peer returns the door of one coordinator.
func (r *Router) Peer(id int32) (Peer, error) { return r.pool.peer(r.meta.View(), id) }

// Close implements Client.
func (r *Router) Close() error { return r.pool.close() }

// owner returns the door of the coordinator that the present View gives a
// shard to.
func (r *Router) owner(shardOf func(shards int) int32) (Peer, error) {
	view := r.meta.View()
	if len(view.Shards) == 0 {
		return nil, errcode.New(errcode.CoordinatorUnavailable, "the cluster has no coordinator yet")
	}
	shard := shardOf(len(view.Shards))
	if shard < 0 || int(shard) >= len(view.Shards) {
		return nil, errcode.New(errcode.InvalidArgument, "shard %d of %d", shard, len(view.Shards)).WithField("shard")
	}
	id := view.Shards[shard].Owner
	if id < 0 {
		return nil, errcode.New(errcode.CoordinatorUnavailable, "no coordinator owns shard %d", shard)
	}
	return r.pool.peer(view, id)
}

// call asks the owner of one shard, and asks anew while the answer is that
// another owns it: when the View has moved, or after a pause, as the owner may
// be the one whose View is behind.
func call[Q, A any](ctx context.Context, r *Router, shardOf func(int) int32, rpc func(Peer, context.Context, *Q) (*A, error), req *Q) (*A, error) {
	began, pause := r.clk.Now(), firstPause
	for {
		changed := r.meta.Changed()
		owner, err := r.owner(shardOf)
		if err != nil {
			return nil, err
		}
		answer, err := rpc(owner, ctx, req)
		if err == nil {
			return answer, nil
		}
		if err = outcome(err); !errcode.Is(err, errcode.NotCoordinator) || r.clk.Since(began) > patience {
			return nil, err
		}
		if !r.wait(ctx, changed, pause) {
			return nil, err
		}
		pause = min(2*pause, lastPause)
	}
}

// wait returns true when it is time to ask again, false once ctx is done.
func (r *Router) wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) bool {
	timer := r.clk.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C():
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// outcome turns the error of a process that is not there into that of a
// coordinator that is not, which is what clients of groups expect.
func outcome(err error) error {
	switch e := errcode.Of(err); e.Reason {
	case errcode.NodeUnavailable, errcode.ShuttingDown:
		return errcode.Wrap(err, errcode.CoordinatorUnavailable, "the coordinator does not answer: %s", e.Message)
	default:
		return e
	}
}

// byID asks the owner of a group's or transactional id's shard.
func byID[Q, A any](ctx context.Context, r *Router, id string, rpc func(Peer, context.Context, *Q) (*A, error), req *Q) (*A, error) {
	return call(ctx, r, func(shards int) int32 { return ShardOf(id, shards) }, rpc, req)
}
