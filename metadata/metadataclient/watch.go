package metadataclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second
	beatPatience = 2 * time.Second
	maxSnapshot  = 512 << 20 // bytes; a snapshot is one message
)

// watch follows the controller until ctx is done. Each new stream begins with
// the whole state, so nothing is missed between two.
func (c *client) watch(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := c.View().Revision
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if c.View().Revision > began {
			backoff = firstBackoff
		}
		c.opts.Log.Debug("metadata watch ended, starting anew", "error", err, "backoff", backoff)
		c.sleep(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, lastBackoff)
	}
}

func (c *client) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Watch(ctx, &metadatav1.WatchRequest{Watcher: c.opts.Watcher, GatewayId: c.opts.GatewayID},
		grpc.MaxCallRecvMsgSize(maxSnapshot))
	if err != nil {
		return fmt.Errorf("watch metadata: %w", err)
	}
	for {
		f, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("watch metadata: %w", err)
		}
		next, err := c.View().next(f)
		if err != nil {
			c.opts.Log.Error("refusing what metadata sent", "error", err)
			return errcode.Wrap(err, errcode.MetadataRegressed, "refused a state")
		}
		c.show(next)
	}
}

// beat tells the controller that this gateway lives and what it has seen, at
// once when that grows.
func (c *client) beat(ctx context.Context) {
	for ctx.Err() == nil {
		changed := c.Changed()
		if revision := c.View().Revision; revision > 0 {
			if err := c.beatOnce(ctx, revision); err != nil && ctx.Err() == nil {
				c.opts.Log.Debug("gateway heartbeat failed", "error", err)
			}
		}
		timer := c.opts.Clock.NewTimer(c.opts.HeartbeatInterval)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (c *client) beatOnce(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.opts.Clock.AfterFunc(beatPatience, cancel).Stop()
	_, err := c.rpc.Heartbeat(ctx, &metadatav1.HeartbeatRequest{NodeId: -1, GatewayId: c.opts.GatewayID, Revision: revision})
	return err
}

func (c *client) sleep(ctx context.Context, d time.Duration) {
	timer := c.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
