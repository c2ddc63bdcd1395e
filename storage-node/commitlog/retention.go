package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// DeleteBefore moves the start of the log to offset, durably, and then removes
// the segments that lie wholly before it (invariant 30).
func (l *Log) DeleteBefore(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if offset > l.end.Load() {
		return fmt.Errorf("%w: start %d beyond the end %d", ErrOffsetOutOfRange, offset, l.end.Load())
	}
	if offset <= l.start.Load() {
		return nil
	}
	l.start.Store(offset)
	if err := l.saveState(false); err != nil {
		return err
	}
	return l.dropSegments()
}

// dropSegments removes segments before the start; the active one stays.
func (l *Log) dropSegments() error {
	var errs []error
	for len(l.segments) > 1 && l.segments[1].base <= l.start.Load() {
		s := l.segments[0]
		l.segments = append([]*segment(nil), l.segments[1:]...)
		errs = append(errs, l.removeSegment(s))
	}
	return errors.Join(errs...)
}

func (l *Log) removeSegment(s *segment) error {
	l.files.forget(s.log())
	if err := l.fs.Remove(s.idx()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.fs.Remove(s.log())
}

// Retain deletes the oldest segments whose records are all older than
// retention, and those that the log is larger than bytes without; a negative
// limit is none. Only segments wholly before bound go. It returns how many.
func (l *Log) Retain(now time.Time, retention time.Duration, bytes, bound int64) (int, error) {
	size := l.Size()
	l.mu.RLock()
	segments := append([]*segment(nil), l.segments...)
	l.mu.RUnlock()
	start, n := l.start.Load(), 0
	for i, s := range segments {
		if err := l.loadIndex(s); err != nil {
			return n, err
		}
		s.mu.RLock()
		old := retention >= 0 && s.size > 0 && now.UnixMilli()-s.maxTime > retention.Milliseconds()
		big := bytes >= 0 && i < len(segments)-1 && size-s.size >= bytes
		end, segSize := s.end, s.size
		s.mu.RUnlock()
		if end > bound || (!old && !big) {
			break
		}
		if i == len(segments)-1 {
			if err := l.rollActive(); err != nil { // so that an idle topic's last records expire too
				return n, err
			}
		}
		start, n, size = end, n+1, size-segSize
	}
	if n == 0 {
		return 0, nil
	}
	return n, l.DeleteBefore(start)
}

func (l *Log) rollActive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.roll(l.end.Load())
}

// Truncate cuts the log to end, which must be where a batch begins or the log
// ends, durably (rule R3).
func (l *Log) Truncate(end int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for len(l.segments) > 1 && l.active().base >= end {
		s := l.active()
		l.segments = l.segments[:len(l.segments)-1]
		if err := l.removeSegment(s); err != nil {
			return err
		}
	}
	if err := l.cut(l.active(), end); err != nil {
		return err
	}
	l.epochs.truncate(end)
	l.end.Store(l.active().end)
	l.durable.Store(min(l.durable.Load(), end))
	if err := l.fs.Remove(path.Join(l.dir, markFile)); err != nil && !isNotExist(err) {
		return err
	}
	l.files.forget(path.Join(l.dir, markFile))
	return l.saveState(false)
}
