package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// A snapshot is, big-endian:
//
//	magic "MPRS" · version u8 · end offset i64 · producers u32 ·
//	producer: id i64 · epoch i16 · touched ms i64 · transaction start i64 · batches u8 ·
//	  batch: first sequence i32 · last sequence i32 · base offset i64 · append time ms i64
//	· CRC-32C of all before u32
//
// Producers stand in order of their id, so equal states have equal bytes.
const (
	snapshotMagic   = "MPRS"
	snapshotVersion = 1

	headSize  = 4 + 1 + 8 + 4
	entrySize = 8 + 2 + 8 + 8 + 1
	batchSize = 4 + 4 + 8 + 8
	crcSize   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrSnapshot says that bytes are no sound snapshot. The state is then rebuilt
// from the log.
var ErrSnapshot = errors.New("producer snapshot is damaged")

// AppendSnapshot appends the state to dst. end says that the state covers the
// log before that offset.
func (s *State) AppendSnapshot(dst []byte, end int64) []byte {
	start, be := len(dst), binary.BigEndian
	dst = append(dst, snapshotMagic...)
	dst = append(dst, snapshotVersion)
	dst = be.AppendUint64(dst, uint64(end))
	dst = be.AppendUint32(dst, uint32(len(s.producers)))
	for _, pid := range slices.Sorted(maps.Keys(s.producers)) {
		dst = s.producers[pid].append(dst, pid)
	}
	return be.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (e *entry) append(dst []byte, pid int64) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(pid))
	dst = be.AppendUint16(dst, uint16(e.epoch))
	dst = be.AppendUint64(dst, uint64(e.touchedMs))
	dst = be.AppendUint64(dst, uint64(e.txnStart))
	dst = append(dst, byte(e.count))
	for _, b := range e.batches[:e.count] {
		dst = be.AppendUint32(dst, uint32(b.firstSeq))
		dst = be.AppendUint32(dst, uint32(b.lastSeq))
		dst = be.AppendUint64(dst, uint64(b.baseOffset))
		dst = be.AppendUint64(dst, uint64(b.appendTimeMs))
	}
	return dst
}

// Restore reads a snapshot and returns its state and the offset that it covers
// the log up to. Whatever b holds, it takes no more memory than a few times
// len(b). The error wraps ErrSnapshot.
func Restore(b []byte, limit int) (*State, int64, error) {
	be := binary.BigEndian
	if len(b) < headSize+crcSize || string(b[:4]) != snapshotMagic {
		return nil, 0, fmt.Errorf("%w: no header in %d bytes", ErrSnapshot, len(b))
	}
	if b[4] != snapshotVersion {
		return nil, 0, fmt.Errorf("%w: version %d, want %d", ErrSnapshot, b[4], snapshotVersion)
	}
	body, sum := b[:len(b)-crcSize], be.Uint32(b[len(b)-crcSize:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, 0, fmt.Errorf("%w: CRC-32C is %08x, the trailer says %08x", ErrSnapshot, got, sum)
	}
	end, count := int64(be.Uint64(b[5:])), be.Uint32(b[13:])
	s, rest := New(limit), body[headSize:]
	if end < 0 || int64(count) > int64(len(rest)/entrySize) {
		return nil, 0, fmt.Errorf("%w: end %d, %d producers in %d bytes", ErrSnapshot, end, count, len(rest))
	}
	for last := int64(none); count > 0; count-- {
		pid, e, after, ok := readEntry(rest)
		if !ok || pid <= last {
			return nil, 0, fmt.Errorf("%w: producer after %d", ErrSnapshot, last)
		}
		s.producers[pid], rest, last = e, after, pid
	}
	if len(rest) != 0 {
		return nil, 0, fmt.Errorf("%w: %d bytes too many", ErrSnapshot, len(rest))
	}
	return s, end, nil
}

func readEntry(b []byte) (pid int64, e *entry, rest []byte, ok bool) {
	if len(b) < entrySize {
		return 0, nil, nil, false
	}
	be := binary.BigEndian
	pid = int64(be.Uint64(b))
	e = &entry{
		epoch:     int16(be.Uint16(b[8:])),
		touchedMs: int64(be.Uint64(b[10:])),
		txnStart:  int64(be.Uint64(b[18:])),
	}
	n := int(b[26])
	b = b[entrySize:]
	if e.epoch < 0 || e.txnStart < none || n > remembered || len(b) < n*batchSize {
		return 0, nil, nil, false
	}
	e.count = int8(n)
	for i := range n {
		e.batches[i] = batch{
			firstSeq:     int32(be.Uint32(b)),
			lastSeq:      int32(be.Uint32(b[4:])),
			baseOffset:   int64(be.Uint64(b[8:])),
			appendTimeMs: int64(be.Uint64(b[16:])),
		}
		b = b[batchSize:]
	}
	return pid, e, b, true
}
