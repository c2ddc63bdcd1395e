package record

import "encoding/binary"

// Records use protobuf's zigzag varints (KIP-98): int32 in at most 5 bytes,
// int64 in at most 10. A number padded with zero groups is read, as Kafka
// reads it; one that does not fit its type is not.

func appendVarint(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// readVarint returns the int32 at b[i:] and the index after it. The index is
// -1 when there is no such number.
func readVarint(b []byte, i int) (int32, int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint32(b[i])
		return int32(u>>1) ^ -int32(u&1), i + 1
	}
	var u uint64
	for n := 0; n < 5 && uint(i) < uint(len(b)); n++ {
		c := b[i]
		i++
		u |= uint64(c&0x7f) << (7 * n)
		if c < 0x80 {
			if u > 1<<32-1 {
				return 0, -1
			}
			return int32(uint32(u)>>1) ^ -int32(u&1), i
		}
	}
	return 0, -1
}

// readVarlong is readVarint for an int64.
func readVarlong(b []byte, i int) (int64, int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint64(b[i])
		return int64(u>>1) ^ -int64(u&1), i + 1
	}
	if uint(i) >= uint(len(b)) {
		return 0, -1
	}
	v, n := binary.Varint(b[i:])
	if n <= 0 {
		return 0, -1
	}
	return v, i + n
}
