package record

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/snappy"
)

// The Java clients frame snappy as xerial's SnappyOutputStream does: this
// magic, two version numbers, then blocks, each behind its length. Others
// (librdkafka, franz-go) send one raw block. Both are read; raw is written.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeaderSize = 16 // magic, version int32, compatible version int32
	// snappyRatio is more than snappy can reach (64 bytes from a 3-byte copy):
	// a block that claims to grow more lies, and gets no memory.
	snappyRatio = 24
)

func unsnappy(dst, src []byte, limit int) ([]byte, *InvalidError) {
	if !bytes.HasPrefix(src, xerialMagic) {
		return unsnappyBlock(dst, src, limit)
	}
	if len(src) < xerialHeaderSize {
		return dst, undecodable(Snappy, "frame header is cut")
	}
	var err *InvalidError
	for src = src[xerialHeaderSize:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, undecodable(Snappy, "block length is cut")
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return dst, undecodable(Snappy, "block reaches past the batch")
		}
		if dst, err = unsnappyBlock(dst, src[:n], limit); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

// unsnappyBlock appends one decompressed block to dst, which grows to limit
// bytes at most.
func unsnappyBlock(dst, src []byte, limit int) ([]byte, *InvalidError) {
	n, err := snappy.DecodedLen(src)
	if err != nil || n > snappyRatio*len(src) {
		return dst, undecodable(Snappy, "block length is wrong")
	}
	if n > limit-len(dst) {
		return dst, overLimit(Snappy, limit)
	}
	at := len(dst)
	dst = grow(dst, n)[:at+n]
	if _, err := snappy.DecodeStrict(dst[at:at+n:at+n], src); err != nil {
		return dst[:at], undecodable(Snappy, err.Error())
	}
	return dst, nil
}
