package commitlog

import (
	"fmt"
	"slices"
	"sort"

	"moldau.dev/services/record"
)

// Read appends whole batches to dst, from the one that holds offset from on
// and only such that begin before bound, about maxBytes of them; with
// wholeFirst the first comes even if it is larger (KIP-74). Every batch is
// verified against its checksum: what does not hold is not returned, and is
// an error where it comes first.
func (l *Log) Read(from, bound int64, maxBytes int, wholeFirst bool, dst []byte) ([]byte, error) {
	if from < l.start.Load() || from > l.end.Load() {
		return dst, fmt.Errorf("%w: offset %d of [%d, %d]", ErrOffsetOutOfRange, from, l.start.Load(), l.end.Load())
	}
	begin := len(dst)
	for from < min(bound, l.end.Load()) && len(dst)-begin < maxBytes {
		s := l.segmentFor(from)
		if s == nil {
			break
		}
		room := maxBytes - (len(dst) - begin)
		var err error
		n := len(dst)
		if dst, from, err = l.readSegment(s, from, bound, room, wholeFirst && n == begin, dst); err != nil {
			if len(dst) > begin {
				return dst, nil // the damage will come first next time
			}
			return dst, err
		}
		if len(dst) == n && from < s.end {
			break
		}
	}
	return dst, nil
}

// segmentFor returns the last segment that begins at or before offset.
func (l *Log) segmentFor(offset int64) *segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > offset })
	if i == 0 {
		return nil
	}
	return l.segments[i-1]
}

// readSegment returns dst with batches added, and the offset to go on from.
func (l *Log) readSegment(s *segment, from, bound int64, maxBytes int, wholeFirst bool, dst []byte) ([]byte, int64, error) {
	if err := l.loadIndex(s); err != nil {
		return dst, from, err
	}
	s.mu.RLock()
	pos, size, segEnd := s.floor(from), s.size, s.end
	s.mu.RUnlock()
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return dst, from, err
	}
	defer release()
	pos, h, err := seek(f, s.log(), pos, size, func(h record.Header) bool { return h.NextOffset() > from })
	if err != nil {
		return dst, from, err
	}
	if pos >= size {
		return dst, segEnd, nil // nothing of this segment lies at or after from
	}
	want := maxBytes
	if h.Size() > want {
		if !wholeFirst {
			return dst, from, nil
		}
		want = h.Size()
	}
	n := int(min(int64(want), size-pos))
	begin := len(dst)
	dst = slices.Grow(dst, n)[:begin+n]
	if _, err := f.ReadAt(dst[begin:], pos); err != nil {
		return dst[:begin], from, err
	}
	kept, next, err := whole(dst[begin:], h.BaseOffset, bound, segEnd)
	if err != nil {
		err = &CorruptionError{s.log(), pos + int64(kept), err.Error()}
	}
	if pos+int64(kept) >= size && err == nil {
		next = max(next, segEnd)
	}
	return dst[:begin+kept], next, err
}

// whole returns how many bytes of b are whole, verified batches that begin
// before bound, and the offset after them. Base offsets lie outside the
// checksum: they must not go back, nor beyond the segment's end.
func whole(b []byte, next, bound, segEnd int64) (int, int64, error) {
	kept := 0
	for kept < len(b) {
		rest := b[kept:]
		if len(rest) < record.HeaderSize {
			break
		}
		h, err := record.ParseHeader(rest)
		if err != nil {
			return kept, next, err
		}
		if h.BaseOffset < next || h.NextOffset() > segEnd {
			return kept, next, fmt.Errorf("offset %d where at least %d, and less than %d, comes next", h.BaseOffset, next, segEnd)
		}
		if h.Size() > len(rest) || h.BaseOffset >= bound {
			break
		}
		if _, err := record.Verify(rest[:h.Size()]); err != nil {
			return kept, next, err
		}
		kept, next = kept+h.Size(), h.NextOffset()
	}
	return kept, next, nil
}

type readerAt interface {
	ReadAt(p []byte, off int64) (int, error)
}

// seek walks headers from pos to the first batch that found accepts.
func seek(f readerAt, name string, pos, size int64, found func(record.Header) bool) (int64, record.Header, error) {
	var head [record.HeaderSize]byte
	for pos < size {
		if size-pos < record.HeaderSize {
			return pos, record.Header{}, &CorruptionError{name, pos, "no whole header is left"}
		}
		if _, err := f.ReadAt(head[:], pos); err != nil {
			return pos, record.Header{}, err
		}
		h, err := record.ParseHeader(head[:])
		if err != nil {
			return pos, h, &CorruptionError{name, pos, err.Error()}
		}
		if int64(h.Size()) > size-pos {
			return pos, h, &CorruptionError{name, pos, "the batch is longer than its file"}
		}
		if found(h) {
			return pos, h, nil
		}
		pos += int64(h.Size())
	}
	return pos, record.Header{}, nil
}

// Stamp is a record that was found by its timestamp.
type Stamp struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32 // leader epoch of its batch
}

// OffsetForTimestamp finds the first record at or after the log's start, and
// before bound, that is stamped at or after t (ms), looking inside batches.
func (l *Log) OffsetForTimestamp(t, bound int64) (Stamp, bool, error) {
	l.mu.RLock()
	segments := slices.Clone(l.segments)
	l.mu.RUnlock()
	for _, s := range segments {
		if err := l.loadIndex(s); err != nil {
			return Stamp{}, false, err
		}
		s.mu.RLock()
		pos, skip := s.floorTime(t), s.maxTime < t
		s.mu.RUnlock()
		if skip {
			continue
		}
		st, ok, err := l.firstIn(s, pos, bound, func(h record.Header) bool { return h.MaxTimestamp >= t },
			func(r *record.Record) bool { return r.Timestamp >= t })
		if ok || err != nil {
			return st, ok, err
		}
	}
	return Stamp{}, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp before bound
// (KIP-734).
func (l *Log) MaxTimestamp(bound int64) (Stamp, bool, error) {
	l.mu.RLock()
	segments := slices.Clone(l.segments)
	l.mu.RUnlock()
	best, pos := (*segment)(nil), int64(0)
	top := int64(-1)
	for _, s := range segments {
		if err := l.loadIndex(s); err != nil {
			return Stamp{}, false, err
		}
		s.mu.RLock()
		if s.maxTime > top {
			best, top, pos = s, s.maxTime, s.floor(s.maxAt)
		}
		s.mu.RUnlock()
	}
	if best == nil {
		return Stamp{}, false, nil
	}
	return l.firstIn(best, pos, bound, func(h record.Header) bool { return h.MaxTimestamp >= top },
		func(r *record.Record) bool { return r.Timestamp >= top })
}

func (l *Log) firstIn(s *segment, pos, bound int64, batch func(record.Header) bool, match func(*record.Record) bool) (Stamp, bool, error) {
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return Stamp{}, false, err
	}
	defer release()
	s.mu.RLock()
	size := s.size
	s.mu.RUnlock()
	start := l.start.Load()
	for pos < size {
		at, h, err := seek(f, s.log(), pos, size, func(h record.Header) bool { return h.NextOffset() > start && batch(h) })
		if err != nil || at >= size || h.BaseOffset >= bound {
			return Stamp{}, false, err
		}
		b := make([]byte, h.Size())
		if _, err := f.ReadAt(b, at); err != nil {
			return Stamp{}, false, err
		}
		if _, err := record.Verify(b); err != nil {
			return Stamp{}, false, &CorruptionError{s.log(), at, err.Error()}
		}
		found := Stamp{Offset: -1, Epoch: h.LeaderEpoch}
		err = record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
			if found.Offset < 0 && r.Offset >= start && r.Offset < bound && match(r) {
				found.Offset, found.Timestamp = r.Offset, r.Timestamp
			}
			return nil
		})
		if err != nil {
			return Stamp{}, false, err
		}
		if found.Offset >= 0 {
			return found, true, nil
		}
		pos = at + int64(h.Size())
	}
	return Stamp{}, false, nil
}
