package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// FORMAT.md has the byte tables of a snapshot.
const (
	snapshotMagic   = "MPRS"
	snapshotVersion = 2

	headSize  = 4 + 1 + 8 + 4 + 4
	entrySize = 8 + 2 + 8 + 8 + 8 + 1
	batchSize = 4 + 4 + 8 + 8
	endedSize = 8 + 8
	crcSize   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrSnapshot says that bytes are no sound snapshot. The state is then rebuilt
// from the log.
var ErrSnapshot = errors.New("producer snapshot is damaged")

// AppendSnapshot appends the state to dst. end says that the state covers the
// log before that offset. Equal states have equal bytes.
func (s *State) AppendSnapshot(dst []byte, end int64) []byte {
	start, be, ended := len(dst), binary.BigEndian, s.undecided.ended()
	dst = append(dst, snapshotMagic...)
	dst = append(dst, snapshotVersion)
	dst = be.AppendUint64(dst, uint64(end))
	dst = be.AppendUint32(dst, uint32(len(s.producers)))
	dst = be.AppendUint32(dst, uint32(len(ended)))
	for _, pid := range slices.Sorted(maps.Keys(s.producers)) {
		dst = s.producers[pid].append(dst, pid)
	}
	for _, t := range ended {
		dst = be.AppendUint64(dst, uint64(t.start))
		dst = be.AppendUint64(dst, uint64(t.marker))
	}
	return be.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (e *entry) append(dst []byte, pid int64) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(pid))
	dst = be.AppendUint16(dst, uint16(e.epoch))
	dst = be.AppendUint64(dst, uint64(e.touchedMs))
	dst = be.AppendUint64(dst, uint64(e.coordinatorEpoch))
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

// Restore reads a snapshot and returns its state, of the given bounds (see
// New), and the offset that it covers the log up to. Whatever b holds, it takes
// no more memory than a few times len(b). The error wraps ErrSnapshot.
func Restore(b []byte, limit int, firstGuard int64) (*State, int64, error) {
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
	end, producers, ended := int64(be.Uint64(b[5:])), int(be.Uint32(b[13:])), int(be.Uint32(b[17:]))
	s, rest := New(limit, firstGuard), body[headSize:]
	if end < 0 || producers > len(rest)/entrySize {
		return nil, 0, fmt.Errorf("%w: end %d, %d producers in %d bytes", ErrSnapshot, end, producers, len(rest))
	}
	rest, err := s.restoreProducers(rest, producers, end)
	if err != nil {
		return nil, 0, err
	}
	if err := s.restoreEnded(rest, ended, end); err != nil {
		return nil, 0, err
	}
	return s, end, nil
}

func (s *State) restoreProducers(b []byte, n int, end int64) ([]byte, error) {
	last := int64(none)
	for range n {
		pid, e, rest, ok := readEntry(b)
		if !ok || pid <= last || e.txnStart >= end && e.txnStart != none {
			return nil, fmt.Errorf("%w: producer after %d", ErrSnapshot, last)
		}
		if e.txnStart != none {
			if _, known := s.undecided.find(e.txnStart); known {
				return nil, fmt.Errorf("%w: two transactions begin at %d", ErrSnapshot, e.txnStart)
			}
			s.undecided.begin(e.txnStart)
		}
		s.producers[pid], b, last = e, rest, pid
	}
	return b, nil
}

func readEntry(b []byte) (pid int64, e *entry, rest []byte, ok bool) {
	if len(b) < entrySize {
		return 0, nil, nil, false
	}
	be := binary.BigEndian
	pid = int64(be.Uint64(b))
	e = &entry{
		epoch:            int16(be.Uint16(b[8:])),
		touchedMs:        int64(be.Uint64(b[10:])),
		coordinatorEpoch: int64(be.Uint64(b[18:])),
		txnStart:         int64(be.Uint64(b[26:])),
	}
	n := int(b[34])
	b = b[entrySize:]
	if e.epoch < 0 || e.txnStart < none || e.coordinatorEpoch < none || n > remembered || len(b) < n*batchSize {
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

// restoreEnded reads the rest of a snapshot: transactions whose marker was not
// below the high watermark.
func (s *State) restoreEnded(b []byte, n int, end int64) error {
	be := binary.BigEndian
	if len(b) != n*endedSize {
		return fmt.Errorf("%w: %d bytes for %d ended transactions", ErrSnapshot, len(b), n)
	}
	last := int64(none)
	for ; len(b) > 0; b = b[endedSize:] {
		start, marker := int64(be.Uint64(b)), int64(be.Uint64(b[8:]))
		if _, known := s.undecided.find(start); known || start <= last || marker <= start || marker >= end {
			return fmt.Errorf("%w: a transaction of offsets %d to %d", ErrSnapshot, start, marker)
		}
		s.undecided.begin(start)
		s.undecided.end(start, marker)
		last = start
	}
	return nil
}
