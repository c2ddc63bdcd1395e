package transport

import (
	"runtime"
	"sync"

	"google.golang.org/grpc/mem"
)

// Lend returns b as a body for a frame, and calls back, once, when the last
// reference to it was given up: then the transport has written it, or will not.
// What is queued on a connection that breaks the transport leaves to the garbage
// collector, which calls back as well. b must not change until then.
func Lend(b []byte, back func()) mem.BufferSlice {
	back = sync.OnceFunc(back)
	if mem.IsBelowBufferPoolingThreshold(cap(b)) { // grpc-go counts no references to so few bytes
		own := append([]byte(nil), b...)
		back()
		return mem.BufferSlice{mem.SliceBuffer(own)}
	}
	l := &loan{back}
	runtime.AddCleanup(l, func(back func()) { back() }, back)
	return mem.BufferSlice{mem.NewBuffer(&b, l)}
}

// loan is a mem.BufferPool only to hear when its buffer is let go.
type loan struct{ back func() }

func (l *loan) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

func (l *loan) Put(*[]byte) { l.back() }
