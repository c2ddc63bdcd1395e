package metadataclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 500 * time.Millisecond
	beatPatience = time.Second
	maxSilence   = 3 * time.Second // of the controller, which sends at least a frame each second
	maxSnapshot  = 512 << 20       // bytes; a snapshot is one message
)

// watch follows the controller until ctx is done. Each new stream begins with
// the whole state, so nothing is missed between two.
func (c *client) watch(ctx context.Context) {
	backoff, told := firstBackoff, ""
	for ctx.Err() == nil {
		began := c.View().Revision
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if c.View().Revision > began {
			backoff = firstBackoff
		}
		if errcode.Is(err, errcode.MetadataRegressed) && err.Error() != told {
			told = err.Error()
			c.opts.Log.Error("metadata was set back; what was seen before stays", "error", err)
		}
		c.opts.Log.Debug("metadata watch ended, starting anew", "error", err, "backoff", backoff)
		c.sleep(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, lastBackoff)
	}
}

func (c *client) follow(ctx context.Context) error {
	for hops := 0; ; hops++ {
		i, err := c.instances.pick()
		if err != nil {
			return err
		}
		err = c.followAt(ctx, i)
		if _, elsewhere := c.instances.learn(i, err); !elsewhere || hops == maxHops {
			return err
		}
	}
}

// followAt shows what one instance sends, until it fails or has been silent for
// too long: a process that hangs keeps its connections open (G2).
func (c *client) followAt(ctx context.Context, i *instance) error {
	ctx, end := c.instances.within(ctx, i)
	defer end()
	alive := c.opts.Clock.AfterFunc(maxSilence, func() { c.instances.silent(i) })
	defer alive.Stop()
	req := &metadatav1.WatchRequest{Watcher: c.opts.Watcher, GatewayId: c.opts.GatewayID, Seen: c.View().Position()}
	stream, err := i.rpc.Watch(ctx, req, grpc.MaxCallRecvMsgSize(maxSnapshot))
	for err == nil {
		var f *metadatav1.WatchResponse
		if f, err = stream.Recv(); err == nil {
			alive.Reset(maxSilence)
			err = c.take(f)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("watch metadata: %w", err)
}

func (c *client) take(f *metadatav1.WatchResponse) error {
	if proto.Equal(f, &metadatav1.WatchResponse{Revision: c.View().Revision}) {
		return nil // a sign of life
	}
	next, err := c.View().next(f)
	if err != nil {
		return errcode.Wrap(err, errcode.MetadataRegressed, "refused a state")
	}
	c.show(next)
	return nil
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
	_, err := c.Heartbeat(ctx, &metadatav1.HeartbeatRequest{NodeId: -1, GatewayId: c.opts.GatewayID, Revision: revision})
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
