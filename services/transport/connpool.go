package transport

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
)

// MaxConnsPerPeer bounds a ConnPool: beyond it more connections cost memory
// and win nothing.
const MaxConnsPerPeer = 4

// ConnPool is a few connections to one peer for bulk data, as one HTTP/2
// connection is one TCP stream and one writer. It is a
// grpc.ClientConnInterface, so generated stubs take it.
type ConnPool struct {
	conns []*grpc.ClientConn
	turn  atomic.Uint32
}

// DialPool returns n connections to target, 1 to MaxConnsPerPeer.
func DialPool(target string, n int, o DialOptions) (*ConnPool, error) {
	if n < 1 || n > MaxConnsPerPeer {
		return nil, fmt.Errorf("transport: dial %d connections: want 1 to %d", n, MaxConnsPerPeer)
	}
	p := &ConnPool{}
	for range n {
		conn, err := Dial(target, o)
		if err != nil {
			_ = p.Close() // none has connected yet
			return nil, err
		}
		p.conns = append(p.conns, conn)
	}
	return p, nil
}

// Len returns the number of connections.
func (p *ConnPool) Len() int { return len(p.conns) }

// Next returns the connections in turn.
func (p *ConnPool) Next() *grpc.ClientConn {
	return p.conns[int(p.turn.Add(1)-1)%len(p.conns)]
}

// For returns always the same connection for a key, which keeps what belongs
// to one partition in order.
func (p *ConnPool) For(key uint64) *grpc.ClientConn {
	return p.conns[key%uint64(len(p.conns))]
}

// Invoke makes a unary call on the next connection.
func (p *ConnPool) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return p.Next().Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream on the next connection.
func (p *ConnPool) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return p.Next().NewStream(ctx, desc, method, opts...)
}

// Close closes all connections.
func (p *ConnPool) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
