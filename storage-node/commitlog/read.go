package commitlog

import (
	"errors"
	"slices"

	"moldau.dev/services/record"
)

// Read appends whole batches to dst: from the one that holds offset from on,
// only such as begin before bound, and at most maxBytes of them, but with
// wholeFirst the first one however large it is (KIP-74). It may give less than
// there is, and nothing only where there is nothing before bound, or the first
// batch is too large. An offset outside of the log is an *OffsetError.
//
// Every batch's header is checked. Checksums are verified of all that this
// process has not appended or verified before: what was on disk when the log
// was opened is verified once. Damage is a *CorruptionError where it comes
// first, and ends what is given otherwise (invariant 13).
func (l *Log) Read(from, bound int64, maxBytes int, wholeFirst bool, dst []byte) ([]byte, error) {
	l.shape.RLock()
	defer l.shape.RUnlock()
	return l.read(from, bound, maxBytes, wholeFirst, dst)
}

// ReadCommitted is Read for readers that skip what was aborted: it also returns
// the aborted transactions with offsets from from on up to the end of what it
// gives, by first offset, as they were when it was read (T12). All transactions
// that begin before bound must be decided.
func (l *Log) ReadCommitted(from, bound int64, maxBytes int, wholeFirst bool, dst []byte) ([]byte, []Aborted, error) {
	l.shape.RLock()
	defer l.shape.RUnlock()
	begin := len(dst)
	dst, err := l.read(from, bound, maxBytes, wholeFirst, dst)
	if err != nil || len(dst) == begin {
		return dst, nil, err
	}
	end := from
	for rest := dst[begin:]; len(rest) > 0; {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return dst[:begin], nil, err
		}
		end, rest = h.NextOffset(), rest[h.Size():]
	}
	aborted, err := l.aborted(from, end)
	if err != nil {
		return dst[:begin], nil, err
	}
	return dst, aborted, nil
}

// read is Read for callers that hold shape.
func (l *Log) read(from, bound int64, maxBytes int, wholeFirst bool, dst []byte) ([]byte, error) {
	begin := len(dst)
	end, err := l.readable(from)
	if err != nil {
		return dst, err
	}
	bound = min(bound, end)
	segments := l.list()
	for i := max(at(segments, from), 0); from < bound && i < len(segments); i++ {
		room := maxBytes - (len(dst) - begin)
		r := segmentRead{log: l, s: segments[i], from: from, bound: bound, room: room, whole: wholeFirst && len(dst) == begin}
		dst, err = r.read(dst)
		if err != nil && len(dst) > begin {
			return dst, nil // it comes first in the next read
		}
		if err != nil || r.full {
			return dst, err
		}
		from = max(from, segments[i].end.Load())
	}
	return dst, nil
}

// readable returns the log's end, or an error if from is not in the log.
func (l *Log) readable(from int64) (int64, error) {
	if l.shut.Load() {
		return 0, ErrClosed
	}
	end, start := l.end.Load(), l.start.Load()
	if from < start || from > end {
		return 0, &OffsetError{Offset: from, Start: start, End: end}
	}
	if len(l.list()) == 0 {
		return from, nil
	}
	return end, nil
}

// segmentRead is the part of a read that one segment serves.
type segmentRead struct {
	log         *Log
	s           *segment
	from, bound int64
	room        int   // bytes
	whole       bool  // the first batch may be larger than room
	full        bool  // set when the next segment is not to be read
	next        int64 // offset after what was checked or trimmed
}

// find returns the file, held, and where the first batch lies and how many
// bytes from there may be read; n is 0 where this segment has nothing.
func (r *segmentRead) find() (f *handle, pos, n int64, err error) {
	s, l := r.s, r.log
	size := s.size.Load()
	if size == 0 {
		return nil, 0, 0, nil
	}
	x, err := l.indexOf(s)
	if err != nil {
		return nil, 0, 0, err
	}
	if f, err = l.files.acquire(l.fs, s); err != nil {
		return nil, 0, 0, err
	}
	first, at := x.floor(r.from-s.base), int64(-1)
	var head record.Header
	err = s.eachHeader(f.file, int64(first.pos), size, s.base, func(h *record.Header, pos int64) bool {
		if h.NextOffset() <= r.from {
			return true
		}
		head, at = *h, pos
		return false
	})
	if err != nil || at < 0 || head.BaseOffset >= r.bound {
		r.full = at >= 0
		l.files.release(f)
		return nil, 0, 0, err
	}
	limit := x.ceiling(r.bound-s.base, size) // no batch from there on begins before bound
	n = min(int64(r.room), limit-at)
	if need := int64(head.Size()); n < need {
		if !r.whole {
			r.full = true
			l.files.release(f)
			return nil, 0, 0, nil
		}
		n = need
	}
	return f, at, n, nil
}

func (r *segmentRead) read(dst []byte) ([]byte, error) {
	f, pos, n, err := r.find()
	if n == 0 || err != nil {
		return dst, err
	}
	defer r.log.files.release(f)
	begin := len(dst)
	dst = slices.Grow(dst, int(n))[:begin+int(n)]
	if err := r.s.readFull(f.file, dst[begin:], pos); err != nil {
		return dst[:begin], err
	}
	kept, err := r.check(dst[begin:], pos)
	r.full = r.full || pos+kept < r.s.size.Load()
	return dst[:begin+int(kept)], err
}

// check returns how many bytes of b, read from pos, are whole, sound batches
// that begin before bound.
func (r *segmentRead) check(b []byte, pos int64) (kept int64, err error) {
	next := r.s.base
	proven := r.s.proven(pos, int64(len(b)))
	for int(kept) < len(b) {
		batch, _, h, err := record.Next(b[kept:])
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err != nil {
			return kept, r.s.corrupt(pos+kept, "%v", err)
		}
		if err := r.s.fits(&h, pos+kept, r.s.size.Load(), next); err != nil {
			return kept, err
		}
		if h.BaseOffset >= r.bound {
			break
		}
		if !proven {
			if _, err = record.Verify(batch); err != nil {
				return kept, r.s.corrupt(pos+kept, "%v", err)
			}
		}
		next = h.NextOffset()
		r.next = next
		kept += int64(len(batch))
	}
	if !proven {
		r.s.prove(pos, kept)
	}
	return kept, nil
}
