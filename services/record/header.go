package record

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// HeaderSize is the size in bytes of a batch header; records follow it.
const HeaderSize = 61

// NoProducerID is the producer id of a batch sent without idempotence.
const NoProducerID int64 = -1

const (
	frameSize = 12 // base offset and length, not counted by Length
	minLength = HeaderSize - frameSize
	magic     = 2

	atLength       = 8
	atEpoch        = 12
	atMagic        = 16
	atCRC          = 17
	atAttributes   = 21 // the CRC covers from here to the end
	atLastDelta    = 23
	atBaseTime     = 27
	atMaxTime      = 35
	atProducerID   = 43
	atProducerEp   = 51
	atBaseSequence = 53
	atCount        = 57

	codecMask        = 0x07
	bitLogAppendTime = 1 << 3
	bitTransactional = 1 << 4
	bitControl       = 1 << 5
	bitDeleteHorizon = 1 << 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the fixed part of a v2 record batch, in wire order (the magic
// byte, always 2, is left out).
type Header struct {
	BaseOffset      int64  // offset of delta 0; set by the leader, outside the CRC
	Length          int32  // bytes after this field, so Size() - 12
	LeaderEpoch     int32  // -1 from clients; set by the leader, outside the CRC
	CRC             uint32 // CRC-32C of everything from Attributes to the end
	Attributes      int16  // bits 0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
	LastOffsetDelta int32  // survives compaction, so may exceed Count-1 in a log
	BaseTimestamp   int64  // ms; what the records' timestamp deltas count from
	MaxTimestamp    int64  // ms; the append time when LogAppendTime
	ProducerID      int64  // NoProducerID without idempotence
	ProducerEpoch   int16
	BaseSequence    int32 // sequence of delta 0; -1 without idempotence
	Count           int32 // records present
}

// ParseHeader reads the batch header at the start of b, which may hold the
// header only, a whole batch, or more. It returns ErrPartial when b is shorter
// than HeaderSize and an *InvalidError when the fields cannot be those of a v2
// batch: another magic, a length below 49, a negative or overflowing offset.
// It does not look at the checksum; see Verify.
func ParseHeader(b []byte) (Header, error) {
	if len(b) > atMagic && b[atMagic] != magic {
		return Header{}, badMagic(b[atMagic])
	}
	if len(b) < HeaderSize {
		return Header{}, ErrPartial
	}
	be := binary.BigEndian
	h := Header{
		BaseOffset:      int64(be.Uint64(b)),
		Length:          int32(be.Uint32(b[atLength:])),
		LeaderEpoch:     int32(be.Uint32(b[atEpoch:])),
		CRC:             be.Uint32(b[atCRC:]),
		Attributes:      int16(be.Uint16(b[atAttributes:])),
		LastOffsetDelta: int32(be.Uint32(b[atLastDelta:])),
		BaseTimestamp:   int64(be.Uint64(b[atBaseTime:])),
		MaxTimestamp:    int64(be.Uint64(b[atMaxTime:])),
		ProducerID:      int64(be.Uint64(b[atProducerID:])),
		ProducerEpoch:   int16(be.Uint16(b[atProducerEp:])),
		BaseSequence:    int32(be.Uint32(b[atBaseSequence:])),
		Count:           int32(be.Uint32(b[atCount:])),
	}
	return h, h.check()
}

func (h *Header) check() error {
	switch {
	case h.Length < minLength:
		return invalid(Corrupt, "length %d, at least %d wanted", h.Length, minLength)
	case h.LastOffsetDelta < 0:
		return invalid(Corrupt, "last offset delta %d", h.LastOffsetDelta)
	case h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-int64(h.LastOffsetDelta)-1:
		return invalid(Corrupt, "base offset %d with last offset delta %d", h.BaseOffset, h.LastOffsetDelta)
	}
	return nil
}

// badMagic tells old message sets, which Kafka's clients once sent, from noise.
func badMagic(m byte) error {
	if m < magic {
		return invalid(InvalidRecord, "message format %d is not served, only %d", m, magic)
	}
	return invalid(Corrupt, "magic %d, want %d", m, magic)
}

// Size is the size in bytes of the whole batch.
func (h Header) Size() int { return frameSize + int(h.Length) }

// Codec is what the records are compressed with. It may be one that
// Codec.Valid refuses.
func (h Header) Codec() Codec { return Codec(h.Attributes & codecMask) }

// LogAppendTime tells whether MaxTimestamp is the timestamp of every record
// (KIP-32).
func (h Header) LogAppendTime() bool { return h.Attributes&bitLogAppendTime != 0 }

// Transactional tells whether the batch is part of a transaction.
func (h Header) Transactional() bool { return h.Attributes&bitTransactional != 0 }

// Control tells whether the batch holds a transaction marker, which clients
// do not see.
func (h Header) Control() bool { return h.Attributes&bitControl != 0 }

// DeleteHorizon tells whether BaseTimestamp is the time from which compaction
// may drop the tombstones of the batch (KIP-534).
func (h Header) DeleteHorizon() bool { return h.Attributes&bitDeleteHorizon != 0 }

// Idempotent tells whether the batch names a producer.
func (h Header) Idempotent() bool { return h.ProducerID > NoProducerID }

// LastOffset is the offset of the last record the batch was written with.
func (h Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset is the offset after the batch.
func (h Header) NextOffset() int64 { return h.LastOffset() + 1 }

// LastSequence is the sequence of the last record, which wraps from 2^31-1 to
// 0; -1 when the batch has no sequence.
func (h Header) LastSequence() int32 {
	if h.BaseSequence < 0 {
		return -1
	}
	return int32((int64(h.BaseSequence) + int64(h.LastOffsetDelta)) & math.MaxInt32)
}

// SetBaseOffset sets the base offset of the batch b in place. The CRC does not
// cover it.
func SetBaseOffset(b []byte, off int64) { binary.BigEndian.PutUint64(b, uint64(off)) }

// SetLeaderEpoch sets the leader epoch of the batch b in place. The CRC does
// not cover it.
func SetLeaderEpoch(b []byte, epoch int32) {
	binary.BigEndian.PutUint32(b[atEpoch:], uint32(epoch))
}

// SetLogAppendTime makes ms the timestamp of every record of b, which must be
// one whole batch, and recomputes the CRC. The records keep their deltas
// (KIP-32).
func SetLogAppendTime(b []byte, ms int64) {
	attrs := binary.BigEndian.Uint16(b[atAttributes:])
	binary.BigEndian.PutUint16(b[atAttributes:], attrs|bitLogAppendTime)
	SetMaxTimestamp(b, ms)
}

// SetMaxTimestamp sets the maximum timestamp of b, which must be one whole
// batch, and recomputes the CRC. A leader does so when a client's header
// disagrees with its records; see ValidateProduced.
func SetMaxTimestamp(b []byte, ms int64) {
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b[atCRC:], checksum(b))
}

func checksum(b []byte) uint32 { return crc32.Checksum(b[atAttributes:], castagnoli) }

// append writes h with the given CRC left as it is; see seal.
func (h *Header) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(h.BaseOffset))
	dst = be.AppendUint32(dst, uint32(h.Length))
	dst = be.AppendUint32(dst, uint32(h.LeaderEpoch))
	dst = append(dst, magic)
	dst = be.AppendUint32(dst, h.CRC)
	dst = be.AppendUint16(dst, uint16(h.Attributes))
	dst = be.AppendUint32(dst, uint32(h.LastOffsetDelta))
	dst = be.AppendUint64(dst, uint64(h.BaseTimestamp))
	dst = be.AppendUint64(dst, uint64(h.MaxTimestamp))
	dst = be.AppendUint64(dst, uint64(h.ProducerID))
	dst = be.AppendUint16(dst, uint16(h.ProducerEpoch))
	dst = be.AppendUint32(dst, uint32(h.BaseSequence))
	return be.AppendUint32(dst, uint32(h.Count))
}

// seal sets the length and the CRC of the finished batch b. It reports false
// when b is longer than a batch can say.
func seal(b []byte) bool {
	if len(b)-frameSize > math.MaxInt32 {
		return false
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-frameSize))
	binary.BigEndian.PutUint32(b[atCRC:], checksum(b))
	return true
}
