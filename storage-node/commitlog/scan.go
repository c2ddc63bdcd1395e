package commitlog

import (
	"errors"
	"io"
	"sync"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// headBytes are read at once when only headers are looked for: several small
// batches, or the head of a large one.
const headBytes = 4096

var heads = sync.Pool{New: func() any { return new([headBytes]byte) }}

// eachHeader calls fn with the header of each batch of s in [pos, size), until
// fn returns false. next is the offset that the first may not lie before.
// Checksums are not looked at, lengths and order of offsets are.
func (s *segment) eachHeader(f vfs.File, pos, size, next int64, fn func(h *record.Header, pos int64) bool) error {
	buf := heads.Get().(*[headBytes]byte)
	defer heads.Put(buf)
	b, from := buf[:0], pos
	for pos < size {
		if size-pos < record.HeaderSize {
			return s.corrupt(pos, "%d bytes are no batch", size-pos)
		}
		if pos < from || pos+record.HeaderSize > from+int64(len(b)) {
			from, b = pos, buf[:min(headBytes, size-pos)]
			if err := s.readFull(f, b, pos); err != nil {
				return err
			}
		}
		h, err := record.ParseHeader(b[pos-from:])
		if err != nil {
			return s.corrupt(pos, "%v", err)
		}
		if err := s.fits(&h, pos, size, next); err != nil {
			return err
		}
		if !fn(&h, pos) {
			return nil
		}
		next, pos = h.NextOffset(), pos+int64(h.Size())
	}
	return nil
}

// readFull fills b from pos. An early end is damage: a segment's size is known.
func (s *segment) readFull(f vfs.File, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return s.corrupt(pos+int64(n), "the file ends early")
	}
	return err
}

// eachBatch calls fn with each batch of s in [pos, size), its checksum
// verified. The batch is valid for the call. It returns where it stopped, and
// why if that is before size: a *CorruptionError, or the error of the disk or
// of fn.
func (s *segment) eachBatch(f vfs.File, pos, size, next int64, fn func(batch []byte, h *record.Header, pos int64) error) (int64, error) {
	const chunk = 256 << 10
	buf := make([]byte, 0, min(chunk, max(size-pos, 0)))
	from := pos // where buf lies in the file
	for pos < size {
		rest := buf[pos-from:]
		batch, _, h, err := record.Next(rest)
		if errors.Is(err, record.ErrPartial) {
			want := int64(chunk)
			if len(rest) >= record.HeaderSize {
				if err := s.fits(&h, pos, size, next); err != nil {
					return pos, err
				}
				want = max(want, int64(h.Size()))
			} else if size-pos < record.HeaderSize {
				return pos, s.corrupt(pos, "%d bytes are no batch", size-pos)
			}
			want = min(want, size-pos)
			if want <= int64(len(rest)) {
				return pos, s.corrupt(pos, "a batch of %d bytes, %d are left", h.Size(), size-pos)
			}
			from, buf = pos, sized(buf, int(want))
			if err := s.readFull(f, buf, pos); err != nil {
				return pos, err
			}
			continue
		}
		if err != nil {
			return pos, s.corrupt(pos, "%v", err)
		}
		if err := s.fits(&h, pos, size, next); err != nil {
			return pos, err
		}
		if _, err := record.Verify(batch); err != nil {
			return pos, s.corrupt(pos, "%v", err)
		}
		if err := fn(batch, &h, pos); err != nil {
			return pos, err
		}
		next, pos = h.NextOffset(), pos+int64(len(batch))
	}
	return pos, nil
}

// sized returns n bytes, in the memory of b where they fit.
func sized(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n)
}
