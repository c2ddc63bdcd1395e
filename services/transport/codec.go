package transport

import (
	"sync"

	"google.golang.org/grpc/encoding"
	stockproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// stock is grpc-go's own codec, taken before RegisterCodec can replace it.
var stock = encoding.GetCodecV2(stockproto.Name)

var registerOnce sync.Once

// RegisterCodec makes the frame codec the process-wide codec of the name
// "proto", and the buffers of all messages those of our pool, which clears
// none. NewServer and Dial use them for frames without this; call it from main,
// before any connection exists.
func RegisterCodec() {
	registerOnce.Do(func() {
		encoding.RegisterCodecV2(Codec())
		experimental.SetDefaultBufferPool(sharedPool)
	})
}

// Codec returns the codec that passes *Frame without copying its body and
// leaves every other message to grpc-go's own codec.
func Codec() encoding.CodecV2 { return codec{} }

type codec struct{}

func (codec) Name() string { return stockproto.Name }

// Marshal returns buffers that the transport frees after it wrote them; the
// frame keeps its own references.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		return a.marshal()
	}
	f, ok := v.(*Frame)
	if !ok {
		return marshalMessage(v)
	}
	head, err := f.marshalHead()
	if err != nil {
		return nil, err
	}
	out := make(mem.BufferSlice, 0, 1+len(f.Body))
	if len(head) > 0 {
		out = append(out, mem.SliceBuffer(head))
	}
	f.Body.Ref()
	return append(out, f.Body...), nil
}

// marshalMessage is what grpc-go's own codec does, with a pool whose buffers are
// at most twice the message: of answers that wait for a slow reader nothing
// else is in memory.
func marshalMessage(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return stock.Marshal(v)
	}
	size := proto.Size(m)
	if mem.IsBelowBufferPoolingThreshold(size) {
		b, err := proto.MarshalOptions{UseCachedSize: true}.Marshal(m)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	b := sharedPool.Get(size)
	if _, err := (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*b)[:0], m); err != nil {
		sharedPool.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, sharedPool)}, nil
}

// marshalHead encodes the header, then tag and length of the body field. An
// empty body has no field, as proto3 has it.
func (f *Frame) marshalHead() ([]byte, error) {
	const maxTagAndLength = 5 + 10
	size, body := proto.Size(f.Header), f.Body.Len()
	head := make([]byte, 0, size+2*maxTagAndLength)
	if f.within > 0 {
		inner := size
		if body > 0 {
			inner += protowire.SizeTag(f.bodyField) + protowire.SizeBytes(body)
		}
		head = protowire.AppendTag(head, f.within, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(inner))
	}
	head, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(head, f.Header)
	if err != nil {
		return nil, err
	}
	if body > 0 {
		head = protowire.AppendTag(head, f.bodyField, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(body))
	}
	return head, nil
}

// Unmarshal leaves data to its owner: a body refers to it by references of
// its own.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*Frame)
	if !ok {
		return stock.Unmarshal(data, v)
	}
	f.Free()
	s := splitter{in: cursor{bufs: data}, bodyField: f.bodyField}
	if err := s.run(); err != nil {
		s.body.Free()
		return err
	}
	if err := proto.Unmarshal(s.head, f.Header); err != nil {
		s.body.Free()
		return err
	}
	f.Body = s.body
	return nil
}
