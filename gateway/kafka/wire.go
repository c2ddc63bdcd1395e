package kafka

import (
	"encoding/binary"
	"errors"

	"moldau.dev/services/topicid"
)

// maxTags bounds the tagged fields of one structure. No API has as many as
// five.
const maxTags = 32

// errMalformed closes a connection: what came is not a request of Kafka's.
var errMalformed = errors.New("malformed request")

// reader reads Kafka's primitive types from the front of b. After the first
// fault it gives zeros, and bad tells so. What it returns lies in b.
//
// Invariant: it never allocates, and no count it returns is larger than the
// bytes left, since each element takes at least one.
type reader struct {
	b        []byte
	flexible bool // compact lengths and tagged fields (KIP-482)
	bad      bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) id() topicid.ID {
	if b := r.take(len(topicid.ID{})); b != nil {
		return topicid.ID(b)
	}
	return topicid.ID{}
}

// uvarint reads an unsigned varint of at most 32 bits in at most five bytes.
func (r *reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.b[:min(len(r.b), binary.MaxVarintLen32)])
	if n <= 0 || v > 1<<32-1 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// compactLength reads a compact length, -1 for null.
func (r *reader) compactLength() int {
	n := int64(r.uvarint()) - 1
	if n > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

// count reads the number of elements of an array, -1 for null.
func (r *reader) count() int {
	if r.flexible {
		return r.compactLength()
	}
	n := int(r.int32())
	if n < -1 || n > len(r.b) {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}

// string reads a string; nil is null.
func (r *reader) string() []byte {
	if r.flexible {
		return r.span(r.compactLength())
	}
	return r.legacyString()
}

// legacyString reads a string with a length of two bytes; nil is null.
func (r *reader) legacyString() []byte { return r.span(int(r.int16())) }

// bytes reads bytes; nil is null.
func (r *reader) bytes() []byte {
	if r.flexible {
		return r.span(r.compactLength())
	}
	return r.span(int(r.int32()))
}

func (r *reader) span(n int) []byte {
	if n == -1 && !r.bad {
		return nil
	}
	if b := r.take(n); b != nil {
		return b
	}
	if r.bad {
		return nil
	}
	return []byte{} // take's empty slice of an empty rest is nil
}

// tags passes over the tagged fields at the end of a structure. Unknown ones
// are skipped, never refused; too many, or a tag twice, are.
func (r *reader) tags() {
	if !r.flexible {
		return
	}
	n := r.uvarint()
	if n > maxTags {
		r.bad, r.b = true, nil
		return
	}
	last := int64(-1)
	for range n {
		tag := int64(r.uvarint())
		r.take(int(r.uvarint()))
		if tag <= last {
			r.bad, r.b = true, nil
		}
		last = tag
	}
}

// writer writes Kafka's primitive types.
type writer struct {
	b        []byte
	flexible bool
}

func (w *writer) int16(v int16) { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w *writer) int32(v int32) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) int64(v int64) { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }

func (w *writer) id(id topicid.ID) { w.b = append(w.b, id[:]...) }

func (w *writer) uvarint(v uint32) { w.b = binary.AppendUvarint(w.b, uint64(v)) }

// count writes the number of elements of an array, -1 for null.
func (w *writer) count(n int) {
	if w.flexible {
		w.uvarint(uint32(n + 1))
		return
	}
	w.int32(int32(n))
}

func (w *writer) string(s string) {
	if w.flexible {
		w.uvarint(uint32(len(s) + 1))
	} else {
		w.int16(int16(len(s)))
	}
	w.b = append(w.b, s...)
}

// nullable writes a string; the empty one as null.
func (w *writer) nullable(s string) {
	switch {
	case s != "":
		w.string(s)
	case w.flexible:
		w.uvarint(0)
	default:
		w.int16(-1)
	}
}

// bytesLength writes the length that stands before n bytes.
func (w *writer) bytesLength(n int) { w.count(n) }

// noTags ends a structure that has no tagged fields.
func (w *writer) noTags() {
	if w.flexible {
		w.b = append(w.b, 0)
	}
}
