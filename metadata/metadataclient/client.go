package metadataclient

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// Role is what metadata processes are found by.
const Role = "metadata"

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
	// Transport shapes the connections to metadata processes.
	Transport transport.DialOptions
	// Instances tells Dial which metadata processes run, where its target says
	// discovery.Target(Role).
	Instances discovery.Source
}

type client struct {
	instances *instances
	opts      Options

	view    atomic.Pointer[View]
	mu      sync.Mutex
	changed chan struct{}

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Dial returns a Client of the metadata processes at target: gRPC targets with
// commas between, or discovery.Target(Role). It finds out which of them is the
// controller, and follows when that changes. It does not wait for a connection:
// View is empty until the first state arrived.
func Dial(_ context.Context, target string, opts Options) (Client, error) {
	if target == discovery.Target(Role) {
		if opts.Instances == nil {
			return nil, errcode.New(errcode.InvalidArgument, "target %s needs a place to look instances up in", target)
		}
		return start(nil, opts), nil
	}
	list := strings.Split(target, ",")
	for i := range list {
		if list[i] = strings.TrimSpace(list[i]); list[i] == "" {
			return nil, errcode.New(errcode.InvalidArgument, "metadata target %q has an empty part", target)
		}
	}
	return start(list, opts), nil
}

// Local returns a Client that calls a service of this process directly, with
// no encoding in between, while that is the controller. Close it before the
// service stops.
func Local(service metadatav1.MetadataServiceServer, opts Options) Client {
	opts.Instances = nil
	return start([]string{thisProcess}, opts, newInstance(thisProcess, local{service}, nil))
}

func start(known []string, opts Options, open ...*instance) *client {
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
	s := newInstances(opts.Transport, opts.Clock, known...)
	for _, i := range open {
		s.open[i.address] = i
	}
	c := &client{instances: s, opts: opts, changed: make(chan struct{}), cancel: cancel}
	c.view.Store(emptyView())
	c.wg.Go(func() { c.watch(ctx) })
	if opts.Instances != nil {
		c.wg.Go(func() { c.discover(ctx) })
	}
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
	return c.instances.close()
}

// discover keeps the list of instances until ctx ends.
func (c *client) discover(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.opts.Instances.Watch(ctx, Role, func(list []discovery.Instance) {
			var addresses []string
			for _, i := range list {
				addresses = append(addresses, i.Addr)
			}
			if len(addresses) > 0 { // nobody is more likely an outage of the catalog than the truth
				c.instances.know(addresses)
			}
		})
		if ctx.Err() == nil {
			c.opts.Log.Warn("cannot look up metadata processes", "error", err)
			c.sleep(ctx, lastBackoff)
		}
	}
}

func (c *client) CreateTopic(ctx context.Context, req *metadatav1.CreateTopicRequest) (*metadatav1.CreateTopicResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.CreateTopic, req)
}

func (c *client) AlterTopic(ctx context.Context, req *metadatav1.AlterTopicRequest) (*metadatav1.AlterTopicResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.AlterTopic, req)
}

func (c *client) AddPartitions(ctx context.Context, req *metadatav1.AddPartitionsRequest) (*metadatav1.AddPartitionsResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.AddPartitions, req)
}

func (c *client) DeleteTopic(ctx context.Context, req *metadatav1.DeleteTopicRequest) (*metadatav1.DeleteTopicResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.DeleteTopic, req)
}

func (c *client) AllocateProducerIds(ctx context.Context, req *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.AllocateProducerIds, req)
}

func (c *client) RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	return ask(ctx, c, hasty, metadatav1.MetadataServiceClient.RegisterNode, req)
}

func (c *client) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	return ask(ctx, c, hasty, metadatav1.MetadataServiceClient.Heartbeat, req)
}
