package storageclient

import (
	"context"

	"moldau.dev/services/errcode"
)

// replicateLocally opens a stream to a node of this process: the same frames, by
// channels. The node serves it in a goroutine that ends with the stream.
func replicateLocally(ctx context.Context, node Replicator) FollowerStream {
	ctx, cancel := context.WithCancel(ctx)
	p := &pipe{
		ctx: ctx, cancel: cancel, words: make(chan *FollowerWords, pipeDepth), frames: make(chan *LeaderFrame, pipeDepth),
		done: make(chan struct{}),
	}
	go func() {
		defer close(p.done)
		defer cancel()
		p.err = node.ServeReplica(pipeLeader{p})
	}()
	return p
}

// pipeDepth is the number of messages under way in either direction; their bytes
// are bounded by the sessions' windows.
const pipeDepth = 64

type pipe struct {
	ctx    context.Context
	cancel context.CancelFunc
	words  chan *FollowerWords
	frames chan *LeaderFrame
	done   chan struct{}
	err    error // of the leader's side; set before done is closed
}

func (p *pipe) Send(w *FollowerWords) error {
	said := *w
	select {
	case p.words <- &said:
		return nil
	case <-p.ctx.Done():
		return p.why()
	}
}

func (p *pipe) Recv() (*LeaderFrame, error) {
	select {
	case f := <-p.frames:
		return f, nil
	case <-p.ctx.Done():
		return nil, p.why()
	}
}

// Close ends the stream and waits until the leader's side has.
func (p *pipe) Close() {
	p.cancel()
	<-p.done
	for {
		select {
		case f := <-p.frames:
			f.Release()
		default:
			return
		}
	}
}

func (p *pipe) why() error {
	select {
	case <-p.done:
		if p.err != nil {
			return p.err
		}
	default:
	}
	return errcode.New(errcode.Canceled, "the stream has ended")
}

type pipeLeader struct{ *pipe }

func (p pipeLeader) Context() context.Context { return p.ctx }

func (p pipeLeader) Send(f *LeaderFrame) error {
	select {
	case p.frames <- f:
		return nil
	case <-p.ctx.Done():
		f.Release()
		return errcode.Of(p.ctx.Err())
	}
}

func (p pipeLeader) Recv() (*FollowerWords, error) {
	select {
	case w := <-p.words:
		return w, nil
	case <-p.ctx.Done():
		return nil, errcode.Of(p.ctx.Err())
	}
}
