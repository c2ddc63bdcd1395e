package commitlog

import (
	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Slice is whole batches where they lie: Size bytes of a segment's file from
// Pos on. They stay as they are until Release, whatever becomes of the log.
type Slice struct {
	File      vfs.File
	Pos, Size int64
	Next      int64 // offset after the last record
	Release   func()
}

// Slice is Read without the bytes, for sendfile, of one segment at a time. Size
// is 0, and Release nil, where Read would give nothing. Checksums that Read would
// verify are verified here.
func (l *Log) Slice(from, bound int64, maxBytes int, wholeFirst bool) (Slice, error) {
	l.shape.RLock()
	defer l.shape.RUnlock()
	end, err := l.readable(from)
	if err != nil {
		return Slice{}, err
	}
	bound = min(bound, end)
	segments := l.list()
	for i := max(at(segments, from), 0); from < bound && i < len(segments); i++ {
		r := segmentRead{log: l, s: segments[i], from: from, bound: bound, room: maxBytes, whole: wholeFirst}
		f, pos, n, err := r.find()
		if err != nil {
			return Slice{}, err
		}
		if n == 0 && r.full {
			break
		}
		if n == 0 {
			from = max(from, segments[i].end.Load())
			continue
		}
		if n, err = r.trim(f.file, pos, n); err != nil || n == 0 {
			l.files.release(f)
			return Slice{}, err
		}
		return Slice{File: f.file, Pos: pos, Size: n, Next: r.next, Release: func() { l.files.release(f) }}, nil
	}
	return Slice{}, nil
}

// trim cuts a range to whole batches that begin before bound.
func (r *segmentRead) trim(f vfs.File, pos, n int64) (int64, error) {
	if !r.s.proven(pos, n) {
		b := make([]byte, n)
		if err := r.s.readFull(f, b, pos); err != nil {
			return 0, err
		}
		kept, err := r.check(b, pos)
		if kept > 0 {
			err = nil // the damage comes first next time
		}
		return kept, err
	}
	from := pos
	if x := r.s.index.Load(); x != nil {
		from = max(pos, x.boundary(pos, pos+n-1))
	}
	end := from
	err := r.s.eachHeader(f, from, r.s.size.Load(), r.s.base, func(h *record.Header, at int64) bool {
		if h.BaseOffset >= r.bound || at+int64(h.Size()) > pos+n {
			if r.next == 0 { // what lies before was not looked at
				r.next = h.BaseOffset
			}
			return false
		}
		end, r.next = at+int64(h.Size()), h.NextOffset()
		return true
	})
	if end > pos {
		err = nil // likewise
	}
	return end - pos, err
}
