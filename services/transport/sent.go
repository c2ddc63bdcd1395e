package transport

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// An answer is out of the handler's hands long before it has left: grpc-go
// queues it until the caller's window has room, which may be never. What an
// answer holds of a budget is held until then.

type sendingKey struct{}

// Sending is a call whose answer has not left yet.
type Sending struct {
	mu   sync.Mutex
	done []func()
}

// WithSending returns a ctx for the handler of one call. Whoever serves the
// call calls Done once its answer has left, or will not be sent.
func WithSending(ctx context.Context) (context.Context, *Sending) {
	s := new(Sending)
	return context.WithValue(ctx, sendingKey{}, s), s
}

// Done runs what OnSent was given.
func (s *Sending) Done() {
	s.mu.Lock()
	done := s.done
	s.done = nil
	s.mu.Unlock()
	for _, f := range done {
		f()
	}
}

// OnSent makes f run once the answer of the call of ctx has left the process,
// or never will; from any goroutine. Where nobody watches that, f runs at once.
func OnSent(ctx context.Context, f func()) {
	s, ok := ctx.Value(sendingKey{}).(*Sending)
	if !ok {
		f()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, f)
}

// unarySending watches the answers of unary calls. It is the outermost
// interceptor, as no other must see what it returns.
func unarySending(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, s := WithSending(ctx)
	resp, err := next(ctx, req)
	if err != nil || len(s.done) == 0 {
		s.Done()
		return resp, err
	}
	return &answer{message: resp, sending: s}, nil
}

// answer is a message that the codec watches on its way out.
type answer struct {
	message any
	sending *Sending
}

func (a *answer) marshal() (mem.BufferSlice, error) {
	out, err := codec{}.Marshal(a.message)
	if err != nil {
		a.sending.Done()
		return nil, err
	}
	return watched(out, a.sending), nil
}

// watched returns bufs, which tell s when the last of them was let go.
func watched(bufs mem.BufferSlice, s *Sending) mem.BufferSlice {
	var left atomic.Int32
	freed := func() {
		if left.Add(-1) == 0 {
			s.Done()
		}
	}
	left.Store(1)
	defer freed()
	out := make(mem.BufferSlice, 0, len(bufs))
	for _, b := range bufs {
		left.Add(1)
		out = append(out, Lend(b.ReadOnlyData(), func() {
			b.Free()
			freed()
		})...)
	}
	return out
}
