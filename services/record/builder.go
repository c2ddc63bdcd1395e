package record

import (
	"math"
	"slices"
)

// BuilderOptions are the fields of a batch that its records do not say. Begin
// with DefaultBuilderOptions: producer id 0 is a producer's, not none.
type BuilderOptions struct {
	Codec Codec
	// Level of compression; 0 is the codec's default, then gzip 1 to 9, lz4 1
	// to 9, zstd 1 to 22.
	Level         int
	ProducerID    int64 // NoProducerID without idempotence
	ProducerEpoch int16 // -1 without idempotence
	BaseSequence  int32 // -1 without idempotence
	Transactional bool
}

// DefaultBuilderOptions is no compression and no producer.
func DefaultBuilderOptions() BuilderOptions {
	return BuilderOptions{ProducerID: NoProducerID, ProducerEpoch: -1, BaseSequence: -1}
}

// Builder makes record batches. It is not safe for concurrent use. Once its
// buffers have grown it allocates nothing more, batch after batch.
type Builder struct {
	opts BuilderOptions
	raw  []byte // the records so far, not compressed
	// count may not pass what a batch can say: 2^31-1.
	count             int
	baseTime, maxTime int64 // ms; meaningful when count > 0
}

// NewBuilder returns an empty builder.
func NewBuilder(opts BuilderOptions) *Builder { return &Builder{opts: opts} }

// Reset drops the records and takes opts for the next batch.
func (b *Builder) Reset(opts BuilderOptions) {
	b.opts, b.raw, b.count = opts, b.raw[:0], 0
}

// Append adds r, whose offset becomes the one after the record before it;
// r.Offset is not looked at. All bytes are copied.
func (b *Builder) Append(r *Record) {
	if b.count == 0 {
		b.baseTime, b.maxTime = r.Timestamp, r.Timestamp
	}
	b.maxTime = max(b.maxTime, r.Timestamp)
	timeDelta, offsetDelta := r.Timestamp-b.baseTime, int64(b.count)
	b.raw = appendRecord(b.raw, r, timeDelta, offsetDelta)
	b.count++
}

// Len is the number of records appended.
func (b *Builder) Len() int { return b.count }

// Size is the size in bytes the batch would have without compression.
func (b *Builder) Size() int { return HeaderSize + len(b.raw) }

// Build appends one batch of the records to dst and returns it: base offset 0,
// leader epoch -1. The builder keeps its records; see Reset. It fails when no
// record was appended or the batch is longer than a batch can say (both
// *InvalidError), and when the codec or its level is unknown; dst is then
// returned as it was given.
func (b *Builder) Build(dst []byte) ([]byte, error) {
	if b.count == 0 {
		return dst, invalid(InvalidRecord, "a batch needs a record")
	}
	if b.count > math.MaxInt32 {
		return dst, invalid(TooLarge, "%d records", b.count)
	}
	h := Header{
		LeaderEpoch:     -1,
		Attributes:      int16(b.opts.Codec),
		LastOffsetDelta: int32(b.count - 1),
		BaseTimestamp:   b.baseTime,
		MaxTimestamp:    b.maxTime,
		ProducerID:      b.opts.ProducerID,
		ProducerEpoch:   b.opts.ProducerEpoch,
		BaseSequence:    b.opts.BaseSequence,
		Count:           int32(b.count),
	}
	if b.opts.Transactional {
		h.Attributes |= bitTransactional
	}
	out := h.append(dst)
	out, err := compress(out, b.opts.Codec, b.opts.Level, b.raw)
	if err != nil {
		return dst, err
	}
	if !seal(out[len(dst):]) {
		return dst, invalid(TooLarge, "%d bytes", len(out)-len(dst))
	}
	return out, nil
}

// appendRecord appends r with its length.
func appendRecord(dst []byte, r *Record, timeDelta, offsetDelta int64) []byte {
	size := recordSize(r, timeDelta, offsetDelta)
	dst = slices.Grow(dst, varintLen(int64(size))+size)
	dst = appendVarint(dst, int64(size))
	dst = append(dst, 0) // attributes: none are defined
	dst = appendVarint(dst, timeDelta)
	dst = appendVarint(dst, offsetDelta)
	dst = appendBytes(dst, r.Key)
	dst = appendBytes(dst, r.Value)
	dst = appendVarint(dst, int64(len(r.Headers)))
	for i := range r.Headers {
		dst = appendVarint(dst, int64(len(r.Headers[i].Key)))
		dst = append(dst, r.Headers[i].Key...)
		dst = appendBytes(dst, r.Headers[i].Value)
	}
	return dst
}

// recordSize is the size in bytes of a record without its length.
func recordSize(r *Record, timeDelta, offsetDelta int64) int {
	n := 1 + varintLen(timeDelta) + varintLen(offsetDelta)
	n += bytesSize(r.Key) + bytesSize(r.Value) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		k := len(r.Headers[i].Key)
		n += varintLen(int64(k)) + k + bytesSize(r.Headers[i].Value)
	}
	return n
}

func bytesSize(b []byte) int {
	if b == nil {
		return varintLen(-1)
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return appendVarint(dst, -1)
	}
	dst = appendVarint(dst, int64(len(b)))
	return append(dst, b...)
}
