package metadataclient

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

const defaultHeartbeat = 500 * time.Millisecond

// Options shape a Client. The zero value works.
type Options struct {
	Clock clock.Clock  // default: the real one
	Log   *slog.Logger // default: discards
	// Watcher names this process in the controller's log.
	Watcher string
	// GatewayID, where set, makes the client beat as that gateway and
	// acknowledge the revision that View has reached, so that answers to admin
	// calls wait for it.
	GatewayID string
	// HeartbeatInterval is how often a gateway beats; default 500 ms.
	HeartbeatInterval time.Duration
	// Transport shapes the connection that Dial makes.
	Transport transport.DialOptions
}

type client struct {
	rpc  metadatav1.MetadataServiceClient
	conn io.Closer // nil for Local
	opts Options

	view    atomic.Pointer[View]
	mu      sync.Mutex
	changed chan struct{}

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Dial returns a Client of the metadata service at a gRPC target. It does not
// wait for a connection: View is empty until the first state arrived.
func Dial(_ context.Context, target string, opts Options) (Client, error) {
	conn, err := transport.Dial(target, opts.Transport)
	if err != nil {
		return nil, err
	}
	return start(metadatav1.NewMetadataServiceClient(conn), conn, opts), nil
}

// Local returns a Client that calls a service of this process directly, with
// no encoding in between. Close it before the service stops.
func Local(service metadatav1.MetadataServiceServer, opts Options) Client {
	return start(local{service}, nil, opts)
}

func start(rpc metadatav1.MetadataServiceClient, conn io.Closer, opts Options) *client {
	if opts.Clock == nil {
		opts.Clock = clock.Real()
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.HeartbeatInterval <= 0 {
		opts.HeartbeatInterval = defaultHeartbeat
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{rpc: rpc, conn: conn, opts: opts, changed: make(chan struct{}), cancel: cancel}
	c.view.Store(emptyView())
	c.wg.Go(func() { c.watch(ctx) })
	if opts.GatewayID != "" {
		c.wg.Go(func() { c.beat(ctx) })
	}
	return c
}

func (c *client) View() *View { return c.view.Load() }

func (c *client) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *client) WaitRevision(ctx context.Context, revision int64) error {
	for {
		changed := c.Changed()
		if c.View().Revision >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *client) show(v *View) {
	c.view.Store(v)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *client) Close() error {
	c.cancel()
	c.wg.Wait()
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// known gives every error a reason.
func known[T any](resp T, err error) (T, error) {
	if err != nil {
		var none T
		return none, errcode.Of(err)
	}
	return resp, nil
}

func (c *client) CreateTopic(ctx context.Context, req *metadatav1.CreateTopicRequest) (*metadatav1.CreateTopicResponse, error) {
	return known(c.rpc.CreateTopic(ctx, req))
}

func (c *client) AlterTopic(ctx context.Context, req *metadatav1.AlterTopicRequest) (*metadatav1.AlterTopicResponse, error) {
	return known(c.rpc.AlterTopic(ctx, req))
}

func (c *client) AddPartitions(ctx context.Context, req *metadatav1.AddPartitionsRequest) (*metadatav1.AddPartitionsResponse, error) {
	return known(c.rpc.AddPartitions(ctx, req))
}

func (c *client) DeleteTopic(ctx context.Context, req *metadatav1.DeleteTopicRequest) (*metadatav1.DeleteTopicResponse, error) {
	return known(c.rpc.DeleteTopic(ctx, req))
}

func (c *client) AllocateProducerIds(ctx context.Context, req *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error) {
	return known(c.rpc.AllocateProducerIds(ctx, req))
}

func (c *client) RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	return known(c.rpc.RegisterNode(ctx, req))
}

func (c *client) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	return known(c.rpc.Heartbeat(ctx, req))
}
