package transport

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Frame is a protobuf message whose one big bytes field, the body, travels
// without being copied. On the wire it is a plain message: the header's fields
// and then the body field, so either end may use a generated stub instead.
//
// A Frame owns one reference to each buffer of its body; Free gives it up.
type Frame struct {
	// Header is the message without its body field.
	Header proto.Message
	// Body is the content of the body field, possibly in pieces.
	Body mem.BufferSlice

	bodyField protowire.Number
	within    protowire.Number // the field that holds header and body; 0: they are the message
}

// NewFrame returns a frame to send, or, without a body, one to receive into.
// The bytes are not copied: nobody may change them until the call that sends
// the frame has ended (on a stream: until the peer answered), as the transport
// reads them after Send has returned.
func NewFrame(header proto.Message, bodyField protowire.Number, body ...[]byte) *Frame {
	f := &Frame{Header: header, bodyField: bodyField}
	for _, b := range body {
		if len(b) > 0 {
			f.Body = append(f.Body, mem.SliceBuffer(b))
		}
	}
	return f
}

// NewFrameOf returns a frame that takes over the caller's references to body.
// Free the frame once Send has returned; the transport holds its own.
func NewFrameOf(header proto.Message, bodyField protowire.Number, body mem.BufferSlice) *Frame {
	return &Frame{Header: header, Body: body, bodyField: bodyField}
}

// NewFrameWithin returns a frame to send, as NewFrameOf, of a message that has
// one field, a message with the fields of header and the body.
func NewFrameWithin(field protowire.Number, header proto.Message, bodyField protowire.Number, body mem.BufferSlice) *Frame {
	return &Frame{Header: header, Body: body, bodyField: bodyField, within: field}
}

// Split takes a message apart whose bytes are the body of another frame, so that
// a body within a message within a message is not copied either. f keeps its
// own body; into refers to the same bytes by references of its own.
func (f *Frame) Split(into *Frame) error { return codec{}.Unmarshal(f.Body, into) }

// BodyField returns the number of the body field.
func (f *Frame) BodyField() protowire.Number { return f.bodyField }

// Bytes returns the body as one slice. It copies, once, only if the body came
// in pieces. The slice is valid until Free and must not be changed.
func (f *Frame) Bytes() []byte {
	switch len(f.Body) {
	case 0:
		return nil
	case 1:
		return f.Body[0].ReadOnlyData()
	}
	whole := f.Body.MaterializeToBuffer(mem.DefaultBufferPool())
	f.Body.Free()
	f.Body = mem.BufferSlice{whole}
	return whole.ReadOnlyData()
}

// Free gives up the body. It may be called more than once, by one owner.
func (f *Frame) Free() {
	f.Body.Free()
	f.Body = nil
}
