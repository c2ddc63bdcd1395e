package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Stamp tells who wrote a value and by which operation (C4).
type Stamp struct {
	ControllerEpoch int64
	OpID            [16]byte
}

const (
	frameVersion = 1
	frameHeader  = 1 + 4 + 8 + 16
)

// Seal frames a value:
//
//	byte 0      version, 1
//	bytes 1–4   CRC-32C, big-endian, of the key and of all bytes after it
//	bytes 5–12  controller epoch, big-endian
//	bytes 13–28 operation id
//	then        length of extra, as an unsigned varint; extra; payload
//
// Payload is a protobuf; extra is what that message has no field for.
func Seal(key string, s Stamp, extra, payload []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+binary.MaxVarintLen64+len(extra)+len(payload))
	b[0] = frameVersion
	binary.BigEndian.PutUint64(b[5:], uint64(s.ControllerEpoch))
	copy(b[13:], s.OpID[:])
	b = binary.AppendUvarint(b, uint64(len(extra)))
	b = append(append(b, extra...), payload...)
	binary.BigEndian.PutUint32(b[1:], frameCRC(key, b))
	return b
}

func frameCRC(key string, b []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, b[5:])
}

// Unseal is the way back; extra and payload alias b. Its error is a
// *DamagedError.
func Unseal(key string, b []byte) (s Stamp, extra, payload []byte, err error) {
	damaged := func(format string, args ...any) (Stamp, []byte, []byte, error) {
		return Stamp{}, nil, nil, &DamagedError{Key: key, Cause: fmt.Errorf(format, args...)}
	}
	if len(b) < frameHeader {
		return damaged("%d bytes are no frame", len(b))
	}
	if b[0] != frameVersion {
		return damaged("version %d, but this binary knows only %d", b[0], frameVersion)
	}
	if want, got := binary.BigEndian.Uint32(b[1:]), frameCRC(key, b); want != got {
		return damaged("CRC-32C is %08x, not %08x", got, want)
	}
	n, width := binary.Uvarint(b[frameHeader:])
	rest := b[frameHeader+max(width, 0):]
	if width <= 0 || n > uint64(len(rest)) {
		return damaged("extra of impossible length")
	}
	s.ControllerEpoch = int64(binary.BigEndian.Uint64(b[5:]))
	copy(s.OpID[:], b[13:])
	return s, rest[:n], rest[n:], nil
}
