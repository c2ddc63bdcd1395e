package commitlog

import (
	"errors"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Stamp is a record that was found by its timestamp.
type Stamp struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32 // leader epoch of its batch
}

// OffsetForTimestamp finds the first record at or after the log start and
// before bound whose timestamp is at least ms. It looks inside batches, also
// compressed ones, within record.DefaultLimits.
func (l *Log) OffsetForTimestamp(ms, bound int64) (found Stamp, ok bool, err error) {
	l.shape.RLock()
	defer l.shape.RUnlock()
	for _, s := range l.list() {
		if s.base >= bound || s.size.Load() == 0 {
			break
		}
		x, err := l.indexOf(s)
		if err != nil {
			return Stamp{}, false, err
		}
		if newest, _ := x.maxTimestamp(); newest < ms {
			continue
		}
		if found, ok, err = l.firstSince(s, x.timeFloor(ms), ms, bound); ok || err != nil {
			return found, ok, err
		}
	}
	return Stamp{}, false, nil
}

// MaxTimestamp finds the first of the records before bound that have the
// largest timestamp (KIP-734).
func (l *Log) MaxTimestamp(bound int64) (found Stamp, ok bool, err error) {
	l.shape.RLock()
	defer l.shape.RUnlock()
	var best *segment
	bestTime, bestPos := int64(-1), int64(0)
	for _, s := range l.list() {
		if s.base >= bound || s.size.Load() == 0 {
			break
		}
		newest, pos, err := l.newest(s, bound)
		if err != nil {
			return Stamp{}, false, err
		}
		if newest > bestTime {
			best, bestTime, bestPos = s, newest, pos
		}
	}
	if best == nil {
		return Stamp{}, false, nil
	}
	return l.firstSince(best, bestPos, bestTime, bound)
}

// newest returns the largest timestamp of the batches of s that end at or
// before bound and after the log start, and where its batch begins.
func (l *Log) newest(s *segment, bound int64) (ms, pos int64, err error) {
	x, err := l.indexOf(s)
	if err != nil {
		return 0, 0, err
	}
	start := l.start.Load()
	if s.end.Load() <= bound && s.base >= start {
		ms, pos = x.maxTimestamp()
		return ms, pos, nil
	}
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return 0, 0, err
	}
	defer l.files.release(f)
	ms = -1
	err = s.eachHeader(f.file, 0, s.size.Load(), s.base, func(h *record.Header, at int64) bool {
		if h.NextOffset() > bound {
			return false
		}
		if h.MaxTimestamp > ms && h.NextOffset() > start {
			ms, pos = h.MaxTimestamp, at
		}
		return true
	})
	return ms, pos, err
}

// firstSince looks from pos on for the first record in [start, bound) stamped
// ms or later.
func (l *Log) firstSince(s *segment, pos, ms, bound int64) (Stamp, bool, error) {
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return Stamp{}, false, err
	}
	defer l.files.release(f)
	var found Stamp
	var ok bool
	var inner error
	err = s.eachHeader(f.file, pos, s.size.Load(), s.base, func(h *record.Header, pos int64) bool {
		if h.BaseOffset >= bound {
			return false
		}
		if h.MaxTimestamp < ms || h.NextOffset() <= l.start.Load() {
			return true
		}
		found, ok, inner = l.recordSince(s, f.file, h, pos, ms, bound)
		return !ok && inner == nil
	})
	if inner != nil {
		err = inner
	}
	return found, ok && err == nil, err
}

var errFound = errors.New("found")

// recordSince looks into one batch.
func (l *Log) recordSince(s *segment, f vfs.File, h *record.Header, pos, ms, bound int64) (Stamp, bool, error) {
	batch := make([]byte, h.Size())
	if err := s.readFull(f, batch, pos); err != nil {
		return Stamp{}, false, err
	}
	if _, err := record.Verify(batch); err != nil {
		return Stamp{}, false, s.corrupt(pos, "%v", err)
	}
	var found Stamp
	start := l.start.Load()
	err := record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
		if r.Timestamp < ms || r.Offset < start || r.Offset >= bound {
			return nil
		}
		found = Stamp{Offset: r.Offset, Timestamp: r.Timestamp, Epoch: h.LeaderEpoch}
		return errFound
	})
	if err == errFound {
		return found, true, nil
	}
	return Stamp{}, false, err
}
