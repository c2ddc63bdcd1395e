// Package controller is the elected one: it holds the lease, decides changes
// one at a time with the pure core in cluster, makes each durable in the store,
// and only then lets anyone see it (C5). Above it are the RPC handlers.
//
// Invariant: whatever goes wrong while a change is written, the term ends and
// the next one reads everything anew; nobody guesses what the store holds.
package controller

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// Config shapes a controller.
type Config struct {
	Address         string        // where other instances reach this one
	FenceTimeout    time.Duration // silence that fences a node (C8)
	AckTimeout      time.Duration // longest wait for gateways to catch up
	Defaults        cluster.Defaults
	BalanceInterval time.Duration // between looks at leaders and replicas; 0: never
	MaxMoves        int           // partitions that the controller itself moves at once

	// Ping asks the instance at an address for a sign of life (C7), and tells it
	// how far metadata was seen. Nil: there are no other instances.
	Ping func(ctx context.Context, address string, seen *metadatav1.Position) (Pong, error)
}

// Image is the cluster at one revision. It never changes.
type Image struct {
	State    *cluster.State
	Epoch    int64 // controller epoch
	Revision int64
	Lineage  *metadatav1.Lineage // Revision is the last of it
}

// Controller campaigns for the lease and, while it holds it, decides.
//
//	campaigning → loading → leading → (lost, failed or stopped) → campaigning
type Controller struct {
	cfg   Config
	clk   clock.Clock
	log   *slog.Logger
	store store.Store

	term     atomic.Pointer[term] // nil unless leading
	image    atomic.Pointer[Image]
	lease    atomic.Pointer[store.Lease] // from election on, before term is set
	Gateways *Gateways

	suspicion suspicion // of campaign alone

	mu       sync.Mutex
	changed  chan struct{} // closed when image or term next changes
	fatal    error         // why it does not lead: damaged or set-back truth
	active   string        // address of the controller, as far as is known
	evidence evidence

	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a controller that does nothing before Start.
func New(cfg Config, clk clock.Clock, log *slog.Logger, st store.Store) *Controller {
	return &Controller{
		cfg: cfg, clk: clk, log: log, store: st,
		Gateways: newGateways(clk, cfg.FenceTimeout),
		changed:  make(chan struct{}),
	}
}

// Start begins to campaign.
func (c *Controller) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		c.campaign(ctx)
	}()
}

// Stop gives the lease up and waits until nothing of the controller runs.
func (c *Controller) Stop(ctx context.Context) error {
	if c.cancel == nil {
		return nil
	}
	c.cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Image returns the newest committed state, or nil while this controller does
// not lead.
func (c *Controller) Image() *Image { return c.image.Load() }

// Changed returns a channel that is closed when Image next changes. Take it
// before the Image.
func (c *Controller) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// WaitLeading returns once this controller leads, or with the reason why it
// never will.
func (c *Controller) WaitLeading(ctx context.Context) error {
	for {
		changed := c.Changed()
		if c.Image() != nil {
			return nil
		}
		if err := c.Fatal(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Fatal returns why this controller will never lead, or nil.
func (c *Controller) Fatal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fatal
}

func (c *Controller) publish(image *Image) {
	c.image.Store(image)
	c.mu.Lock()
	if image != nil {
		c.evidence.note(image.Position())
	}
	c.mu.Unlock()
	c.announce()
}

func (c *Controller) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// do runs f on the goroutine that owns the state, and returns its error.
func (c *Controller) do(ctx context.Context, f func(t *term) error) error {
	_, err := ask(ctx, c, func(t *term) (struct{}, error) { return struct{}{}, f(t) })
	return err
}

// ask runs f on the goroutine that owns the state, and returns what it returns.
// When ctx ends first, f may still run.
func ask[T any](ctx context.Context, c *Controller, f func(t *term) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	t := c.term.Load()
	if t == nil {
		return none, c.NotLeading()
	}
	reply, seen := make(chan answer, 1), metadataclient.SeenIn(ctx)
	select {
	case t.inbox <- func() {
		if err := t.checkSeen(seen); err != nil {
			reply <- answer{none, err}
			return
		}
		value, err := f(t)
		reply <- answer{value, err}
	}:
	case <-t.done:
		return none, errcode.New(errcode.NotController, "the controller has just lost its lease")
	case <-ctx.Done():
		return none, errcode.Of(ctx.Err())
	}
	select {
	case a := <-reply:
		return a.value, a.err
	case <-ctx.Done():
		return none, errcode.Of(ctx.Err())
	}
}

// Change decides one change from the newest state and makes it durable. It
// returns the image that holds it.
func (c *Controller) Change(ctx context.Context, decide func(s *cluster.State) (cluster.Change, error)) (*Image, error) {
	return ask(ctx, c, func(t *term) (*Image, error) {
		change, err := decide(t.image.State)
		if err == nil {
			err = t.apply(change)
		}
		return t.image, err
	})
}

// Preview is Change without the change: the image is what would have been, at
// the revision of today.
func (c *Controller) Preview(ctx context.Context, decide func(s *cluster.State) (cluster.Change, error)) (*Image, error) {
	now := c.Image()
	if now == nil {
		return nil, c.do(ctx, func(*term) error { return nil })
	}
	change, err := decide(now.State)
	if err != nil {
		return nil, err
	}
	next, _, err := now.State.Apply(change)
	if err != nil {
		return nil, err
	}
	return &Image{State: next, Epoch: now.Epoch, Revision: now.Revision, Lineage: now.Lineage}, nil
}
