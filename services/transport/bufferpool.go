package transport

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

const (
	minClass = 10 // 1 KiB: below, grpc-go does not pool
	maxClass = 24 // 16 MiB: above, a buffer is left to the garbage collector
	poison   = 0xDB
)

// bufferPool keeps buffers of powers of two and does not clear them: Get gives
// exactly the length asked for, and its user fills all of it. What nobody uses
// is released by the garbage collector, so an idle process holds none.
type bufferPool struct {
	classes [maxClass + 1]sync.Pool
	poison  bool
}

// NewBufferPool returns the pool for servers and connections.
func NewBufferPool() mem.BufferPool { return &bufferPool{} }

// NewPoisoningBufferPool returns a pool for tests that overwrites what comes
// back, so that use after Free shows.
func NewPoisoningBufferPool() mem.BufferPool { return &bufferPool{poison: true} }

var sharedPool = NewBufferPool()

func (p *bufferPool) Get(length int) *[]byte {
	class := max(bits.Len(uint(max(length, 1)-1)), minClass)
	if class > maxClass {
		b := make([]byte, length)
		return &b
	}
	if b, ok := p.classes[class].Get().(*[]byte); ok {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, 1<<class)
	return &b
}

func (p *bufferPool) Put(b *[]byte) {
	size := cap(*b)
	if p.poison {
		whole := (*b)[:size]
		for i := range whole {
			whole[i] = poison
		}
	}
	class := bits.Len(uint(size)) - 1
	if size != 1<<max(class, 0) || class < minClass || class > maxClass {
		return // not one of ours
	}
	p.classes[class].Put(b)
}
