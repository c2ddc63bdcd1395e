package transport

import (
	"errors"
	"io"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

var errMalformed = errors.New("transport: malformed protobuf frame")

// splitter parts a message into its header fields, copied into head, and its
// body field, referred to by body. It takes fields in any order, fields it
// does not know, and, as protobuf does, the last of a field that comes twice.
type splitter struct {
	in        cursor
	bodyField protowire.Number
	head      []byte
	body      mem.BufferSlice
}

func (s *splitter) run() error {
	for !s.in.atEnd() {
		num, typ, err := s.in.tag()
		if err != nil {
			return err
		}
		if num == s.bodyField && typ == protowire.BytesType {
			err = s.takeBody()
		} else {
			err = s.copyField(num, typ, protowire.DefaultRecursionLimit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *splitter) takeBody() error {
	n, err := s.in.length()
	if err != nil {
		return err
	}
	s.body.Free()
	s.body = s.in.slice(n)
	return nil
}

// copyField copies one field, its tag included, to the header.
func (s *splitter) copyField(num protowire.Number, typ protowire.Type, depth int) error {
	s.head = protowire.AppendTag(s.head, num, typ)
	switch typ {
	case protowire.VarintType:
		v, err := s.in.varint()
		if err != nil {
			return err
		}
		s.head = protowire.AppendVarint(s.head, v)
		return nil
	case protowire.Fixed32Type:
		return s.copyBytes(4)
	case protowire.Fixed64Type:
		return s.copyBytes(8)
	case protowire.BytesType:
		n, err := s.in.length()
		if err != nil {
			return err
		}
		s.head = protowire.AppendVarint(s.head, uint64(n))
		return s.copyBytes(n)
	case protowire.StartGroupType:
		return s.copyGroup(num, depth-1)
	default: // an end without its start, or a type that does not exist
		return errMalformed
	}
}

func (s *splitter) copyGroup(group protowire.Number, depth int) error {
	if depth < 0 {
		return errMalformed
	}
	for {
		num, typ, err := s.in.tag()
		if err != nil {
			return err
		}
		if typ == protowire.EndGroupType {
			if num != group {
				return errMalformed
			}
			s.head = protowire.AppendTag(s.head, num, typ)
			return nil
		}
		if err := s.copyField(num, typ, depth); err != nil {
			return err
		}
	}
}

func (s *splitter) copyBytes(n int) error {
	if n > s.in.left() {
		return io.ErrUnexpectedEOF
	}
	s.head = s.in.appendTo(s.head, n)
	return nil
}

// cursor reads through a list of buffers as through one.
type cursor struct {
	bufs mem.BufferSlice
	off  int // into bufs[0]
}

// skipEmpty makes bufs[0][off] the next byte, if there is one.
func (c *cursor) skipEmpty() {
	for len(c.bufs) > 0 && c.off == c.bufs[0].Len() {
		c.bufs, c.off = c.bufs[1:], 0
	}
}

func (c *cursor) atEnd() bool {
	c.skipEmpty()
	return len(c.bufs) == 0
}

func (c *cursor) left() int { return c.bufs.Len() - c.off }

func (c *cursor) byte() (byte, error) {
	if c.atEnd() {
		return 0, io.ErrUnexpectedEOF
	}
	b := c.bufs[0].ReadOnlyData()[c.off]
	c.off++
	return b, nil
}

func (c *cursor) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := c.byte()
		if err != nil {
			return 0, err
		}
		if shift == 63 && b > 1 {
			return 0, errMalformed
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errMalformed
}

func (c *cursor) tag() (protowire.Number, protowire.Type, error) {
	v, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	num, typ := protowire.DecodeTag(v)
	if num < protowire.MinValidNumber {
		return 0, 0, errMalformed
	}
	return num, typ, nil
}

// length reads the length of a bytes field and checks that so much is there.
func (c *cursor) length() (int, error) {
	v, err := c.varint()
	if err != nil {
		return 0, err
	}
	if v > uint64(c.left()) {
		return 0, io.ErrUnexpectedEOF
	}
	return int(v), nil
}

// next passes the next stretch of at most n bytes within one buffer.
func (c *cursor) next(n int) (from, to int) {
	c.skipEmpty()
	from = c.off
	to = min(c.bufs[0].Len(), from+n)
	c.off = to
	return from, to
}

// appendTo copies n bytes, which must be there, behind dst.
func (c *cursor) appendTo(dst []byte, n int) []byte {
	for n > 0 {
		from, to := c.next(n)
		dst = append(dst, c.bufs[0].ReadOnlyData()[from:to]...)
		n -= to - from
	}
	return dst
}

// slice returns n bytes, which must be there, as references.
func (c *cursor) slice(n int) mem.BufferSlice {
	var out mem.BufferSlice
	for n > 0 {
		from, to := c.next(n)
		out = append(out, c.bufs[0].Slice(from, to))
		n -= to - from
	}
	return out
}
