package commitlog

import (
	"errors"
	"slices"

	"moldau.dev/services/record"
)

// Truncate cuts the log to end at offset to, durably, and forgets the leader
// epochs that begin there or later, also where the log ends before (rule R3).
// An offset inside a batch takes the whole batch away. Nothing below the log
// start is given up: that is an *OffsetError.
func (l *Log) Truncate(to int64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if to < l.start.Load() {
		return &OffsetError{Offset: to, Start: l.start.Load(), End: l.end.Load()}
	}
	segments, last, pos := l.list(), -1, int64(0)
	if to < l.end.Load() {
		var err error
		if last, pos, to, err = l.cutPoint(to); err != nil {
			return err
		}
	}
	l.epochs = l.epochs.before(to)
	if to >= l.end.Load() {
		return l.saveLocked(l.describe(segments, l.start.Load(), l.mark, l.epochs))
	}
	kept := segments[:last+1]
	m := l.mark
	if to < m.offset {
		m = mark{offset: to, base: -1}
		if last >= 0 {
			m.base, m.pos = segments[last].base, pos
		}
	}
	l.cleanEnd = min(l.cleanEnd, to)
	if err := l.saveLocked(l.describe(kept, l.start.Load(), m, l.epochs)); err != nil {
		return err
	}
	if err := l.cutFiles(segments, last, pos); err != nil {
		l.failed = err
		return err
	}
	if last >= 0 {
		segments[last].shrink(pos, to)
		segments[last].frozen = segments[last].frozen && m.base != segments[last].base
	}
	l.setList(slices.Clone(kept))
	l.mark = m
	l.durable.Store(min(l.durable.Load(), to))
	l.end.Store(to)
	return nil
}

// saveLocked is saveCheckpoint for a caller that holds mu.
func (l *Log) saveLocked(c checkpoint) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	return l.saveCheckpoint(c)
}

// cutPoint finds the last segment that keeps bytes in a log cut to offset to,
// how many, and the offset at which the log then ends.
func (l *Log) cutPoint(to int64) (last int, pos, end int64, err error) {
	segments := l.list()
	last = at(segments, to)
	for ; last >= 0; last-- {
		s := segments[last]
		pos, end, err = l.positionOf(s, to)
		if err != nil || pos > 0 {
			return last, pos, end, err
		}
		to = end
	}
	return -1, 0, to, nil
}

// positionOf returns where in s the first batch begins that does not lie
// wholly before to, and the offset to cut at: to, or that batch's base.
func (l *Log) positionOf(s *segment, to int64) (pos, end int64, err error) {
	size := s.size.Load()
	if size == 0 {
		return 0, to, nil
	}
	x, err := l.indexOf(s)
	if err != nil {
		return 0, 0, err
	}
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return 0, 0, err
	}
	defer l.files.release(f)
	pos, end = size, to
	from := x.floor(to - s.base)
	err = s.eachHeader(f.file, int64(from.pos), size, s.base, func(h *record.Header, at int64) bool {
		if h.NextOffset() <= to {
			return true
		}
		pos, end = at, min(to, h.BaseOffset)
		return false
	})
	return pos, end, err
}

// cutFiles removes the segments after number last, from the end, so that a
// crash leaves no hole, and cuts that one to size pos.
func (l *Log) cutFiles(segments []*segment, last int, pos int64) error {
	for i := len(segments) - 1; i > last; i-- {
		s := segments[i]
		l.dirty = slices.DeleteFunc(l.dirty, func(d *segment) bool { return d == s })
		l.unpin(s)
		if err := l.removeLast(s); err != nil {
			return err
		}
	}
	if last < 0 || pos == segments[last].size.Load() {
		return nil
	}
	return l.cutFile(segments[last], pos)
}

// removeLast removes a segment, durably.
func (l *Log) removeLast(s *segment) error {
	l.files.drop(s)
	if err := errors.Join(l.removeIndex(s), l.removeFile(s.log)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// cutFile cuts a segment to size, durably; at size 0 it removes it. The index
// files go first: they speak of what is no longer there.
func (l *Log) cutFile(s *segment, size int64) error {
	if size == 0 {
		return l.removeLast(s)
	}
	if err := l.removeIndex(s); err != nil {
		return err
	}
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return err
	}
	defer l.files.release(f)
	if err := f.file.Truncate(size); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// Reset empties the log, durably, so that it starts and ends at start: what a
// follower does whose leader's log starts after its own end.
func (l *Log) Reset(start int64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	m := mark{offset: start, base: -1}
	l.cleanEnd = min(l.cleanEnd, start)
	if err := l.saveLocked(checkpoint{start: start, cleanEnd: l.cleanEnd, mark: m}); err != nil {
		return err
	}
	if err := l.cutFiles(l.list(), -1, 0); err != nil {
		l.failed = err
		return err
	}
	l.setList(nil)
	l.epochs, l.mark = nil, m
	l.start.Store(start)
	l.end.Store(start)
	l.durable.Store(start)
	return nil
}
