package kafka

import (
	"math/bits"
	"sync"
)

// buffers are those that requests are read into and that responses begin with.
var buffers bufferPool

const (
	minClass = 9  // 512 bytes
	maxClass = 23 // 8 MiB: above, a buffer is left to the garbage collector
)

// bufferPool keeps buffers of powers of two and does not clear them: whoever
// gets one fills all of it.
type bufferPool struct {
	classes [maxClass + 1]sync.Pool // of *[]byte
}

// get returns a buffer of n bytes.
func (p *bufferPool) get(n int) []byte {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return make([]byte, n)
	}
	if b, ok := p.classes[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<class)
}

// put takes a buffer back. Its bytes are not to be used afterwards.
func (p *bufferPool) put(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < minClass || class > maxClass || cap(b) != 1<<class {
		return // not one of ours
	}
	b = b[:cap(b)]
	p.classes[class].Put(&b)
}
