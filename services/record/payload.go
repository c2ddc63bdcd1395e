package record

import "sync"

// payload is the records of a batch, not compressed.
type payload struct {
	b   []byte
	buf *[]byte // pooled memory that b lies in; nil when b is the batch's own
}

// keptBuffer bounds the buffers that are kept for reuse, in bytes, so that one
// large batch does not hold memory for good.
const keptBuffer = 4 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// openPayload decompresses the records of batch within lim. The payload must
// be closed, after which its bytes belong to others.
func openPayload(batch []byte, h *Header, lim *Limits) (payload, *InvalidError) {
	b := batch[HeaderSize:]
	if int(h.Count) > lim.MaxRecords {
		return payload{}, invalid(TooLarge, "%d records, at most %d wanted", h.Count, lim.MaxRecords)
	}
	// Compaction leaves no payload in an emptied batch, whatever its codec.
	if h.Codec() == None || h.Count == 0 && len(b) == 0 {
		return payload{b: b}, nil
	}
	buf := buffers.Get().(*[]byte)
	out, err := decompress((*buf)[:0], h.Codec(), b, lim.decompressed(len(b)))
	p := payload{b: out, buf: buf}
	if err != nil {
		p.close()
		return payload{}, err
	}
	return p, nil
}

func (p *payload) close() {
	if p.buf == nil {
		return
	}
	if c := cap(p.b); c <= keptBuffer && c > cap(*p.buf) {
		*p.buf = p.b[:0]
	}
	buffers.Put(p.buf)
	*p = payload{}
}
