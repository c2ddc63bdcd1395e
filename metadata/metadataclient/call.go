package metadataclient

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	retryPause = 100 * time.Millisecond
	maxHops    = 4 // from one instance to another without a pause

	// Patience with a cluster that has no controller just now, which a takeover
	// ends within 5 s.
	patient = 10 * time.Second
	// None: the caller comes again by itself.
	hasty = 0
)

// method is one of the service, such as
// metadatav1.MetadataServiceClient.CreateTopic.
type method[Req, Resp any] func(metadatav1.MetadataServiceClient, context.Context, *Req, ...grpc.CallOption) (*Resp, error)

// ask calls the controller, wherever it is. What was surely not done is asked
// again, elsewhere at once and else for as long as patience lasts; what may have
// been done never is.
func ask[Req, Resp any](ctx context.Context, c *client, patience time.Duration, call method[Req, Resp], req *Req) (*Resp, error) {
	began := c.opts.Clock.Now()
	for hops := 0; ; hops++ {
		again, elsewhere := true, false
		i, err := c.instances.pick()
		if err == nil {
			var resp *Resp
			if resp, err = attempt(ctx, c, i, call, req); err == nil {
				return resp, nil
			}
			again, elsewhere = c.instances.learn(i, err)
		}
		switch {
		case !again || ctx.Err() != nil:
			return nil, errcode.Of(err)
		case elsewhere && hops < maxHops:
			continue
		case c.opts.Clock.Since(began) >= patience:
			return nil, errcode.Of(err)
		}
		c.sleep(ctx, retryPause)
	}
}

// attempt is one call to one instance, which ends when that one is known to
// hang.
func attempt[Req, Resp any](ctx context.Context, c *client, i *instance, call method[Req, Resp], req *Req) (*Resp, error) {
	ctx, end := c.instances.within(ctx, i)
	defer end()
	resp, err := call(i.rpc, withSeen(ctx, i, c.View().Position()), req)
	if cause, ours := errors.AsType[*errcode.Error](context.Cause(ctx)); err != nil && ours {
		err = cause
	}
	return resp, err
}
