package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Recovery tells what Open found and did.
type Recovery struct {
	// Clean says that the log ended where its checkpoint says: nothing was scanned.
	Clean bool
	// Rebuilt says that a checkpoint was damaged or missing, and the whole log scanned.
	Rebuilt        bool
	BatchesScanned int   // whose checksums were verified
	BytesScanned   int64 // of those
	TruncatedBytes int64 // of a tail that no mark covered, cut off
}

// Open opens the log in dir, and makes it where there is none. After an
// unclean end it verifies what was written since the last mark, and cuts it at
// the first batch that does not hold. Damage before the mark is a
// *CorruptionError, and then nothing is changed (rule N6).
func Open(fsys vfs.FS, dir string, cfg Config, files *FileCache) (*Log, Recovery, error) {
	l := &Log{fs: fsys, dir: dir, files: files, hint: &segment{log: path.Join(dir, hintName)}}
	l.setList(nil)
	l.SetConfig(cfg)
	r := opening{Log: l}
	if err := r.open(); err != nil {
		for _, s := range append(l.list(), r.segments...) {
			files.drop(s)
		}
		return nil, r.Recovery, fmt.Errorf("open log %s: %w", dir, err)
	}
	return l, r.Recovery, nil
}

// opening is one run of Open.
type opening struct {
	*Log
	Recovery
	ck       checkpoint
	promised int64 // the log was durable up to here
	segments []*segment
}

func (r *opening) open() error {
	names, err := r.fs.List(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ck, found, damaged, err := r.loadCheckpoint()
	if err != nil {
		return err
	}
	if !found && !damaged && !slices.ContainsFunc(names, isLog) {
		return r.create()
	}
	r.ck, r.Rebuilt = ck, damaged || !found
	r.Log.cleanEnd = ck.cleanEnd
	if names, err = r.finishSwaps(names); err != nil {
		return err
	}
	if err := r.find(names); err != nil {
		return err
	}
	if r.Rebuilt {
		return r.rebuild(!found && !damaged)
	}
	return r.resume()
}

func isLog(name string) bool {
	_, ok := parseBase(name, logSuffix)
	return ok
}

// create makes an empty log. Nothing of it is durable before its first Sync,
// which costs what the first bytes cost anyhow: there is no checkpoint before
// there are many bytes, or a second segment.
func (r *opening) create() (err error) {
	if r.promised, err = r.readHint(); err != nil {
		return err
	}
	if r.promised > 0 {
		return r.lost(0)
	}
	r.mark = mark{base: -1}
	r.Clean = true
	return r.fs.MkdirAll(r.dir)
}

// find lists the segments, and removes what an interrupted write left.
func (r *opening) find(names []string) error {
	for _, name := range names {
		full := path.Join(r.dir, name)
		if strings.HasSuffix(name, cleanedSuffix) || strings.HasPrefix(name, checkpointStem) && strings.HasSuffix(name, ".tmp") {
			if err := r.removeFile(full); err != nil {
				return err
			}
		}
		base, ok := parseBase(name, logSuffix)
		if !ok {
			continue
		}
		info, err := r.fs.Stat(full)
		if err != nil {
			return err
		}
		s := newSegment(r.dir, base)
		s.size.Store(info.Size)
		s.trusted.Store(info.Size)
		s.end.Store(math.MaxInt64)         // until it is known
		r.segments = append(r.segments, s) // List is sorted, and so are the bases
	}
	return nil
}

// resume goes on from the checkpoint.
func (r *opening) resume() error {
	kept, err := r.match()
	if err != nil {
		return err
	}
	if r.promised, err = r.readHint(); err != nil {
		return err
	}
	if err := r.scan(kept); err != nil {
		return err
	}
	if end := r.Log.end.Load(); end < r.promised {
		return r.lost(end)
	}
	return r.finish(r.ck.start)
}

// match checks the segments before the mark against the checkpoint. It returns
// how many there are; those after them were begun since, or hold the mark.
func (r *opening) match() (int, error) {
	known := map[int64]int64{} // sizes by base
	for _, s := range r.ck.sealed {
		known[s.base] = s.size
	}
	var kept []*segment
	n, m, held := 0, r.ck.mark, false
	for _, s := range r.segments {
		size, listed := known[s.base]
		switch {
		case listed && s.size.Load() != size:
			return 0, s.corrupt(min(s.size.Load(), size), "the segment has %d bytes, it had %d", s.size.Load(), size)
		case listed:
			s.frozen = true
			n++
		case s.base == m.base:
			held = true
			if s.size.Load() < m.pos {
				return 0, s.corrupt(s.size.Load(), "the segment has %d bytes, %d were durable", s.size.Load(), m.pos)
			}
		case s.base < m.offset: // deleted, but for the crash
			if err := r.discard(s); err != nil {
				return 0, err
			}
			continue
		}
		kept = append(kept, s)
	}
	if n < len(known) || m.base >= 0 && !held {
		return 0, &CorruptionError{File: r.dir, Detail: fmt.Sprintf("%d of %d segments are missing", len(known)-n, len(known))}
	}
	r.segments = kept
	r.epochs = r.ck.epochs
	return n, nil
}

func (r *opening) discard(s *segment) error {
	return errors.Join(r.removeIndex(s), r.removeFile(s.log))
}

// scan verifies the segments from number first on, the first of them from the
// mark, and cuts the log at the first batch that does not hold, or the first
// segment that does not begin where the one before it ends.
func (r *opening) scan(first int) error {
	next := r.ck.mark.offset
	for i, s := range r.segments[:first] {
		s.end.Store(next)
		if i+1 < first || r.ck.mark.base >= 0 {
			s.end.Store(r.segments[i+1].base)
		}
	}
	r.Clean = true
	for i := first; i < len(r.segments); i++ {
		s, from := r.segments[i], int64(0)
		if s.base == r.ck.mark.base {
			from = r.ck.mark.pos
		} else if s.base != next {
			return r.cut(i, 0, next)
		}
		stop, end, err := r.scanSegment(s, from, next)
		if err != nil && !errors.As(err, new(*CorruptionError)) {
			return err
		}
		next = end
		s.end.Store(next)
		r.Clean = r.Clean && s.size.Load() == from
		r.suspect(s, from)
		if err != nil {
			return r.cut(i, stop, next)
		}
	}
	r.settle(next)
	return nil
}

// suspect notes that bytes of s after from, or its name, may be in the page
// cache only.
func (r *opening) suspect(s *segment, from int64) {
	if s.base != r.ck.mark.base {
		r.newNames = true
	} else if s.size.Load() == from {
		return
	}
	s.dirty = true
	r.Log.dirty = append(r.Log.dirty, s)
}

// scanSegment verifies the batches of s from a position on.
func (r *opening) scanSegment(s *segment, from, next int64) (stop, end int64, err error) {
	size := s.size.Load()
	if from == size {
		return size, next, nil
	}
	f, err := r.files.acquire(r.fs, s)
	if err != nil {
		return from, next, err
	}
	defer r.files.release(f)
	stop, err = s.eachBatch(f.file, from, size, next, func(batch []byte, h *record.Header, _ int64) error {
		r.epochs.assign(h.LeaderEpoch, h.BaseOffset)
		next = h.NextOffset()
		r.BatchesScanned++
		r.BytesScanned += int64(len(batch))
		return nil
	})
	if err == nil {
		s.prove(from, size-from)
		s.trusted.Store(from)
	}
	return stop, next, err
}

// cut removes what lies after pos in segment i, and all segments after it. It
// goes from the end, so that a crash meanwhile leaves no hole.
func (r *opening) cut(i int, pos, end int64) error {
	if end < r.promised {
		return r.segments[i].corrupt(pos, "the log holds up to offset %d only, %d was durable", end, r.promised)
	}
	r.Clean = false
	for j := len(r.segments) - 1; j > i; j-- {
		r.TruncatedBytes += r.segments[j].size.Load()
		if err := r.removeLast(r.segments[j]); err != nil {
			return err
		}
	}
	s := r.segments[i]
	r.TruncatedBytes += s.size.Load() - pos
	r.segments = r.segments[:i+1]
	r.Log.dirty = slices.DeleteFunc(r.Log.dirty, func(d *segment) bool { return d == s && pos == 0 })
	if err := r.cutFile(s, pos); err != nil {
		return err
	}
	if pos == 0 {
		r.segments = r.segments[:i]
	} else {
		s.shrink(pos, end)
	}
	r.settle(end)
	return nil
}

// lost is the error for a log that ends before what was durable.
func (r *opening) lost(end int64) error {
	return &CorruptionError{File: r.dir, Detail: fmt.Sprintf("the log ends at offset %d, %d was durable", end, r.promised)}
}

func (r *opening) settle(end int64) {
	r.Log.end.Store(end)
	r.Log.setList(r.segments)
	if last := len(r.segments) - 1; last >= 0 {
		r.segments[last].end.Store(end)
	}
}

// finish takes over what was found. After a scan it writes no checkpoint: the
// next Sync does, since the log may hold bytes that only the page cache has.
func (r *opening) finish(start int64) error {
	l, end := r.Log, r.Log.end.Load()
	if start > end {
		return &CorruptionError{File: r.dir, Detail: fmt.Sprintf("the log ends at offset %d, before its start %d", end, start)}
	}
	l.start.Store(start)
	l.cleanEnd = min(l.cleanEnd, end)
	l.epochs = slices.DeleteFunc(l.epochs, func(e epochStart) bool { return e.start > end })
	l.mark, l.marked = r.ck.mark, r.ck.mark.offset
	l.durable.Store(l.mark.offset)
	l.newNames = l.newNames || !r.Clean
	return nil
}

// rebuild does without a checkpoint: it verifies the whole log. What the last
// segment ends with may be a torn tail; damage before is reported. Where there
// is none at all, a log of one segment may never have had one.
func (r *opening) rebuild(none bool) error {
	next, young := int64(0), none && len(r.segments) == 1 && r.segments[0].base == 0
	hint, err := r.readHint()
	if err != nil {
		return err
	}
	r.promised = max(r.ck.mark.offset, hint)
	r.ck.mark = mark{base: -1}
	for i, s := range r.segments {
		if s.base < next {
			return s.corrupt(0, "it begins before offset %d, where the segment before it ends", next)
		}
		next = s.base
		stop, end, err := r.scanSegment(s, 0, next)
		if err != nil && (i+1 < len(r.segments) || end < r.promised || !errors.As(err, new(*CorruptionError))) {
			return err
		}
		next = end
		if i+1 < len(r.segments) {
			s.end.Store(r.segments[i+1].base)
		}
		r.suspect(s, 0)
		if err != nil {
			r.settle(end)
			if err := r.cut(i, stop, end); err != nil {
				return err
			}
		}
	}
	next = max(next, r.ck.start)
	if next < r.promised {
		return r.lost(next)
	}
	r.settle(next)
	start := r.ck.start
	if len(r.segments) > 0 {
		start = max(start, r.segments[0].base)
	}
	r.ck.mark.offset = start
	if len(r.segments) > 0 {
		r.ck.mark.offset = r.segments[0].base
	}
	if err := r.finish(start); err != nil || young {
		return err // what is young goes on as it began: the next Sync makes it durable
	}
	if _, err := r.sync(); err != nil {
		return err
	}
	return r.saveBoth()
}

// saveBoth replaces both generations of the checkpoint.
func (l *Log) saveBoth() error {
	for range 2 {
		if err := l.saveCheckpoint(l.checkpoint()); err != nil {
			return err
		}
	}
	return nil
}
