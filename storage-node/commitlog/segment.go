package commitlog

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"moldau.dev/services/record"
)

// segment is one file of whole batches and the index that finds them.
type segment struct {
	base int64 // no batch in it begins before; the file's name
	log  string
	stem string // log without its extension

	// size is the bytes of whole batches. It is stored after they were written,
	// so that whoever reads it may read them.
	size atomic.Int64
	// end is the offset after the last batch, or the next segment's base.
	end atomic.Int64

	// trusted is where the bytes begin that this process appended: their
	// checksums were verified by whoever appended them. Those of [0, verified)
	// were verified by a read since. Others are verified when they are read.
	trusted  atomic.Int64
	verified atomic.Int64

	loading sync.Mutex // one load of the index at a time
	index   atomic.Pointer[index]
	txns    atomic.Pointer[txnIndex] // changed under Log.mu

	file *handle // guarded by FileCache.mu

	// The writer's, guarded by Log.mu.
	pinned *handle // held while dirty
	dirty  bool    // has bytes that are not fsynced
	born   int64   // ms when the first batch came; 0 for unknown
	frozen bool    // a checkpoint tells its size: nothing may be appended
}

func newSegment(dir string, base int64) *segment {
	stem := path.Join(dir, fmt.Sprintf("%020d", base))
	s := &segment{base: base, stem: stem, log: stem + logSuffix}
	s.end.Store(base)
	return s
}

const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	txnIndexSuffix  = ".txnindex"
)

func (s *segment) indexName() string     { return s.stem + indexSuffix }
func (s *segment) timeIndexName() string { return s.stem + timeIndexSuffix }
func (s *segment) txnIndexName() string  { return s.stem + txnIndexSuffix }

// parseBase reads the offset that names a segment file.
func parseBase(name, suffix string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0
}

// proven tells whether the checksums of [pos, pos+n) need no look any more.
func (s *segment) proven(pos, n int64) bool {
	return pos >= s.trusted.Load() || pos+n <= s.verified.Load()
}

// prove notes that the checksums of [pos, pos+n) held.
func (s *segment) prove(pos, n int64) {
	for {
		old := s.verified.Load()
		if pos > old || pos+n <= old || s.verified.CompareAndSwap(old, pos+n) {
			return
		}
	}
}

// shrink is called, with all readers shut out, when the file was cut to size.
func (s *segment) shrink(size, end int64) {
	s.size.Store(size)
	s.end.Store(end)
	s.trusted.Store(min(s.trusted.Load(), size))
	s.verified.Store(min(s.verified.Load(), size))
	s.index.Store(nil)
	s.txns.Store(nil)
}

// at returns the index in segments of the last one that begins at or before
// offset, or -1.
func at(segments []*segment, offset int64) int {
	i, exact := slices.BinarySearchFunc(segments, offset, func(s *segment, o int64) int { return cmp.Compare(s.base, o) })
	if exact {
		return i
	}
	return i - 1
}

// corrupt makes the error for damage in s.
func (s *segment) corrupt(pos int64, format string, args ...any) error {
	return &CorruptionError{File: s.log, Position: pos, Detail: fmt.Sprintf(format, args...)}
}

// fits says what is wrong with a header found at pos: next is the offset after
// the batch before it. It returns nil for nothing.
func (s *segment) fits(h *record.Header, pos, size, next int64) error {
	switch {
	case int64(h.Size()) > size-pos:
		return s.corrupt(pos, "a batch of %d bytes, %d are left", h.Size(), size-pos)
	case h.BaseOffset < next:
		return s.corrupt(pos, "base offset %d after %d", h.BaseOffset, next)
	case h.NextOffset() > s.end.Load(): // base offsets lie outside the checksum
		return s.corrupt(pos, "offset %d in a segment that ends at %d", h.LastOffset(), s.end.Load())
	}
	return nil
}
