package commitlog

import (
	"errors"
	"slices"
	"time"
)

// DeleteBefore moves the log start to offset, durably, and then removes the
// segments that lie wholly before it (invariant 30). The active segment stays.
// An offset at or before the start changes nothing.
func (l *Log) DeleteBefore(offset int64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	return l.deleteBefore(offset)
}

func (l *Log) deleteBefore(offset int64) error {
	if start, end := l.start.Load(), l.end.Load(); offset > end {
		return &OffsetError{Offset: offset, Start: start, End: end}
	} else if offset <= start {
		return nil
	}
	if _, err := l.sync(); err != nil { // the mark must not lie before the start
		return err
	}
	l.mu.Lock()
	segments, kept := l.list(), l.list()
	for len(kept) > 1 && kept[1].base <= offset {
		kept = kept[1:]
	}
	gone := segments[:len(segments)-len(kept)]
	starts := l.epochs.from(offset)
	ck := l.describe(kept, offset, l.mark, starts)
	l.mu.Unlock()
	if err := l.saveCheckpoint(ck); err != nil {
		return err
	}
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start.Store(offset)
	l.epochs = l.epochs.from(offset)
	l.setList(slices.Clone(l.list()[len(gone):]))
	return l.removeSegments(gone)
}

// removeSegments removes files that the log no longer needs; those that a
// crash brings back are removed by the next Open.
func (l *Log) removeSegments(gone []*segment) error {
	var errs []error
	for _, s := range gone {
		l.dirty = slices.DeleteFunc(l.dirty, func(d *segment) bool { return d == s })
		l.unpin(s)
		l.files.drop(s)
		errs = append(errs, l.removeIndex(s), l.removeFile(s.log))
	}
	return errors.Join(errs...)
}

// Retain deletes the oldest segments: those whose records are all older than
// retention, and those without which the log still has retentionBytes. A
// negative limit is none. Only segments wholly before bound, the high
// watermark, go; the active one is rolled first if all it holds is too old. It
// returns how many went (invariant 30).
func (l *Log) Retain(now time.Time, retention time.Duration, retentionBytes, bound int64) (deletedSegments int, err error) {
	l.admin.Lock()
	defer l.admin.Unlock()
	segments, size, before := l.list(), l.Size(), int64(-1)
	for i, s := range segments {
		old, err := l.expired(s, now, retention)
		if err != nil {
			return 0, err
		}
		last := i == len(segments)-1
		big := retentionBytes >= 0 && !last && size-s.size.Load() >= retentionBytes
		end := s.end.Load()
		if end > bound || !old && !big {
			break
		}
		if last {
			if err := l.Roll(); err != nil {
				return 0, err
			}
			if end != l.end.Load() { // an append came in between
				break
			}
		}
		size -= s.size.Load()
		before = end
		deletedSegments++
	}
	if before < 0 {
		return 0, nil
	}
	return deletedSegments, l.deleteBefore(before)
}

// expired tells whether the newest record of s is older than retention; where
// records have no timestamp the file's counts.
func (l *Log) expired(s *segment, now time.Time, retention time.Duration) (bool, error) {
	if retention < 0 || s.size.Load() == 0 {
		return false, nil
	}
	x, err := l.indexOf(s)
	if err != nil {
		return false, err
	}
	newest, _ := x.maxTimestamp()
	if newest < 0 {
		info, err := l.fs.Stat(s.log)
		if err != nil {
			return false, err
		}
		newest = info.ModTime.UnixMilli()
	}
	return now.UnixMilli()-newest > retention.Milliseconds(), nil
}
