package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	campaignPause    = 200 * time.Millisecond // after a failed election or term
	maxCampaignPause = 2 * time.Second
)

// Pong is what another instance says of itself.
type Pong struct {
	Epoch    int64 // of the term that it holds the lease of; 0: none
	Position *metadatav1.Position
}

func (c *Controller) campaign(ctx context.Context) {
	pause := campaignPause
	for ctx.Err() == nil {
		led, err := c.serveTerm(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		if led {
			pause = campaignPause
		}
		switch {
		case errors.Is(err, store.ErrDamaged):
			c.log.Error("metadata is damaged; an operator must restore the store", "error", err)
			c.setFatal(err)
			return
		case errcode.Is(err, errcode.MetadataRegressed):
			c.log.Error("metadata was set back; nothing is decided from it", "error", err)
			c.setFatal(err) // until an operator has raised the generation
			pause = maxCampaignPause
		default:
			c.log.Warn("controller term ended", "error", err)
		}
		c.sleep(ctx, pause)
		pause = min(2*pause, maxCampaignPause)
	}
}

func (c *Controller) setFatal(err error) {
	c.mu.Lock()
	changed := !errors.Is(c.fatal, err)
	c.fatal = err
	c.mu.Unlock()
	if changed {
		c.announce()
	}
}

func (c *Controller) sleep(ctx context.Context, d time.Duration) {
	timer := c.clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// serveTerm is one whole term, from election to its end. It tells whether
// anyone was served.
func (c *Controller) serveTerm(ctx context.Context) (led bool, err error) {
	lease, err := c.elect(ctx)
	if err != nil {
		return false, err
	}
	c.lease.Store(&lease)
	defer func() {
		c.lease.Store(nil)
		_ = lease.Release(context.WithoutCancel(ctx)) // it runs out by itself
	}()
	// What the term has in flight ends with the lease (C6), but not with a
	// caller, nor with a stop that waits for it.
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-lease.Lost():
			cancel()
		case <-stop:
		}
	}()
	t, err := c.load(held, lease)
	if err != nil {
		return false, err
	}
	c.log.Info("controller leads", "controller_epoch", t.image.Epoch, "topics", len(t.image.State.Topics), "nodes", len(t.image.State.Nodes))
	c.setFatal(nil)
	c.term.Store(t)
	c.publish(t.image)
	err = t.loop(ctx)
	c.term.Store(nil)
	c.publish(nil)
	close(t.done)
	return true, err
}

// elect waits for the lease, and meanwhile looks after the one that has it.
func (c *Controller) elect(ctx context.Context) (store.Lease, error) {
	standby, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	if c.cfg.Ping != nil {
		watch.Go(func() { c.standBy(standby) })
	}
	lease, err := c.store.Elect(ctx, c.cfg.Address)
	stop()
	watch.Wait()
	if err == nil {
		c.setActive(c.cfg.Address)
	}
	return lease, err
}

// standBy pings the controller, and deposes it when it has been silent for too
// long (C7). Where the store does not answer, nothing is decided (C10).
func (c *Controller) standBy(ctx context.Context) {
	for ctx.Err() == nil {
		if h, err := c.store.Holder(ctx); err == nil {
			c.lookAt(ctx, h)
		}
		c.sleep(ctx, pingInterval)
	}
}

func (c *Controller) lookAt(ctx context.Context, h store.Holder) {
	c.setActive(h.Candidate)
	alive := h.Candidate != "" && c.ping(ctx, h)
	if ctx.Err() != nil || !c.suspicion.observe(c.clk.Now(), h, alive) {
		return
	}
	c.log.Warn("the controller gives no sign of life, deposing it", "controller", h.Candidate, "controller_epoch", h.Fence.Epoch)
	if err := c.store.Depose(ctx, h); err != nil && ctx.Err() == nil {
		c.log.Warn("cannot depose the silent controller", "error", err)
	}
}

// ping tells whether the process at h's address is in h's term, and not one
// that took its place.
func (c *Controller) ping(ctx context.Context, h store.Holder) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.clk.AfterFunc(pingPatience, cancel).Stop()
	c.mu.Lock()
	seen := c.evidence.strongest()
	c.mu.Unlock()
	pong, err := c.cfg.Ping(ctx, h.Candidate, seen)
	if err != nil || pong.Epoch != h.Fence.Epoch {
		return false
	}
	c.mu.Lock()
	c.evidence.note(pong.Position)
	c.mu.Unlock()
	if pong.Position != nil {
		c.setFatal(nil) // what it serves is for it to judge, which knows now what is known here
	}
	return true
}

func (c *Controller) setActive(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = address
}

// Active returns the address of the controller as far as it is known here.
func (c *Controller) Active() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// Pong is what this instance answers to a ping.
func (c *Controller) Pong() Pong {
	var p Pong
	if lease := c.lease.Load(); lease != nil {
		p.Epoch = (*lease).Epoch()
	}
	if image := c.Image(); image != nil {
		p.Position = image.Position()
	}
	return p
}

// NotLeading returns the error of a call to an instance that does not lead. It
// says who does, where that is known.
func (c *Controller) NotLeading() error {
	c.mu.Lock()
	fatal, active := c.fatal, c.active
	c.mu.Unlock()
	switch {
	case errcode.Is(fatal, errcode.MetadataRegressed):
		return fatal
	case fatal != nil:
		return errcode.Wrap(fatal, errcode.ControllerUnavailable, "the cluster's metadata is damaged; an operator must restore it")
	case active != "" && active != c.cfg.Address:
		return errcode.New(errcode.NotController, "the controller is at %s", active).With("controller", active)
	}
	return errcode.New(errcode.ControllerUnavailable, "no controller leads here yet")
}
