package transactions

import (
	"context"
	"sync"
	"time"

	"moldau.dev/services/errcode"
)

// process is one that may be killed, paused or cut off from all others.
type process struct {
	mu      sync.Mutex
	dead    bool
	cut     bool
	resumed chan struct{} // closed when it runs; nil where it does
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	if p.resumed != nil {
		close(p.resumed)
		p.resumed = nil
	}
}

func (p *process) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = false
}

// pause stops it with all that it has in hand, which goes on afterwards.
func (p *process) pause(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	resumed := make(chan struct{})
	p.resumed = resumed
	time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.resumed == resumed {
			close(resumed)
			p.resumed = nil
		}
	})
}

// cutOff loses all that it sends and is sent. It runs on meanwhile.
func (p *process) cutOff(d time.Duration) {
	p.mu.Lock()
	p.cut = true
	p.mu.Unlock()
	time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cut = false
	})
}

// away tells whether it cannot know what goes on.
func (p *process) away() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead || p.cut || p.resumed != nil
}

type fate int

const (
	arrives fate = iota
	refused      // nobody is there, and that shows at once
	lost         // nothing ever shows
)

// pass is what becomes of a message that comes to p, or leaves it. It waits
// while p is paused.
func (p *process) pass() fate {
	for {
		p.mu.Lock()
		dead, cut, resumed := p.dead, p.cut, p.resumed
		p.mu.Unlock()
		switch {
		case dead:
			return refused
		case cut:
			return lost
		case resumed == nil:
			return arrives
		}
		<-resumed
	}
}

const (
	latency = time.Millisecond
	// serving bounds what a server does for one call.
	serving = 8 * time.Second
)

// rpc is a call from one process to another. What ctx's end leaves behind goes
// on: a request that was on its way arrives.
func rpc[A any](ctx context.Context, from, to *process, serve func(context.Context) (A, error)) (A, error) {
	type result struct {
		answer A
		err    error
	}
	var none A
	gone := errcode.New(errcode.NodeUnavailable, "connection refused")
	back := make(chan result, 1)
	go func() {
		if from.pass() != arrives {
			return
		}
		time.Sleep(latency)
		switch to.pass() {
		case refused:
			back <- result{none, gone}
			return
		case lost:
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serving)
		defer cancel()
		answer, err := serve(ctx)
		switch to.pass() {
		case refused:
			back <- result{none, gone}
			return
		case lost:
			return
		}
		time.Sleep(latency)
		if from.pass() == arrives {
			back <- result{answer, err}
		}
	}()
	select {
	case r := <-back:
		return r.answer, r.err
	case <-ctx.Done():
		return none, errcode.Of(ctx.Err())
	}
}
