package storagenode

import (
	"math/bits"
	"sync"
)

const (
	minBufferClass = 12 // 4 KiB
	maxBufferClass = 26 // 64 MiB: a fetch's most, with room
)

// bufferPool keeps buffers whose capacity is a power of two. They are not
// cleared: a reader is only ever given the bytes that were read.
type bufferPool struct{ classes [maxBufferClass + 1]sync.Pool }

var readBuffers bufferPool

// get returns an empty buffer with room for n bytes.
func (p *bufferPool) get(n int) *[]byte {
	class := max(bits.Len(uint(max(n, 1)-1)), minBufferClass)
	if class > maxBufferClass {
		b := make([]byte, 0, n)
		return &b
	}
	if b, ok := p.classes[class].Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 1<<class)
	return &b
}

func (p *bufferPool) put(b *[]byte) {
	if class := bits.Len(uint(cap(*b))) - 1; class >= minBufferClass && class <= maxBufferClass && cap(*b) == 1<<class {
		p.classes[class].Put(b)
	}
}
