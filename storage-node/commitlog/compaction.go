package commitlog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// cut truncates s to the batch boundary end.
func (l *Log) cut(s *segment, end int64) error {
	if err := l.loadIndex(s); err != nil {
		return err
	}
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.size
	s.reset()
	var at int64
	_, why := scan(f, 0, size, s.base, false, func(h record.Header, pos int64) {
		if h.NextOffset() <= end {
			s.note(h, pos, int64(l.cfg.IndexIntervalBytes))
			at = pos + int64(h.Size())
		}
	})
	if why != nil {
		return &CorruptionError{s.log(), at, why.Error()}
	}
	if err := f.Truncate(at); err != nil {
		return err
	}
	return f.Sync()
}

// CompactOptions bound a compaction.
type CompactOptions struct {
	Now             time.Time
	DeleteRetention time.Duration // tombstones stay so long after they were first met
	MinLag          time.Duration // younger records are left alone
	Bound           int64         // offsets from here on are left alone: the last stable offset
}

// CompactStats tells what a compaction did.
type CompactStats struct {
	SegmentsCleaned int
	BytesBefore     int64
	BytesAfter      int64
}

const cleanedSuffix, swapSuffix = ".cleaned", ".swap"

// finishSwap ends what a crash in a compaction left: a .cleaned file never
// became the truth and goes; a .swap file did, and takes its place.
func (l *Log) finishSwap(names []string) ([]string, error) {
	changed := false
	for _, n := range names {
		full := l.dir + "/" + n
		switch {
		case strings.HasSuffix(n, cleanedSuffix) || strings.HasSuffix(n, ".tmp"):
			changed = true
			if err := l.fs.Remove(full); err != nil {
				return nil, err
			}
		case strings.HasSuffix(n, swapSuffix):
			changed = true
			name := strings.TrimSuffix(full, swapSuffix)
			if err := l.fs.Remove(strings.TrimSuffix(name, ".log") + ".index"); err != nil && !isNotExist(err) {
				return nil, err
			}
			if err := l.fs.Rename(full, name); err != nil {
				return nil, err
			}
		}
	}
	if !changed {
		return names, nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, err
	}
	return l.fs.List(l.dir)
}

// Compact rewrites the segments before the active one so that of each key only
// the last record below the bound stays. Offsets never change; the last batch
// of each producer stays even if empty; a tombstone stays until DeleteRetention
// after the compaction that first met it (invariant 29, KIP-534).
func Compact(l *Log, o CompactOptions) (CompactStats, error) {
	l.mu.RLock()
	segments := append([]*segment(nil), l.segments[:len(l.segments)-1]...)
	l.mu.RUnlock()
	var stats CompactStats
	var clean []*segment
	for _, s := range segments {
		if err := l.loadIndex(s); err != nil {
			return stats, err
		}
		if s.end > o.Bound || (o.MinLag > 0 && o.Now.UnixMilli()-s.maxTime < o.MinLag.Milliseconds()) {
			break
		}
		clean = append(clean, s)
	}
	last := map[string]int64{}
	producers := map[int64]int64{} // the last batch of each
	for _, s := range clean {
		err := l.eachBatch(s, func(b []byte, h record.Header) error {
			if h.Idempotent() {
				producers[h.ProducerID] = h.BaseOffset
			}
			if h.Control() {
				return nil
			}
			return record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
				last[string(r.Key)] = r.Offset
				return nil
			})
		})
		if err != nil {
			return stats, err
		}
	}
	for _, s := range clean {
		before := s.size
		changed, err := l.compactSegment(s, o, last, producers)
		if err != nil {
			return stats, err
		}
		if changed {
			stats.SegmentsCleaned++
			stats.BytesBefore += before
			stats.BytesAfter += s.size
		}
	}
	return stats, nil
}

// eachBatch calls fn for each batch of s, verified; b is valid for the call.
func (l *Log) eachBatch(s *segment, fn func(b []byte, h record.Header) error) error {
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return err
	}
	defer release()
	return eachBatch(f, s, fn)
}

func eachBatch(f vfs.File, s *segment, fn func(b []byte, h record.Header) error) error {
	var b []byte
	for pos := int64(0); pos < s.size; {
		_, h, err := seek(f, s.log(), pos, s.size, func(record.Header) bool { return true })
		if err != nil {
			return err
		}
		if cap(b) < h.Size() {
			b = make([]byte, h.Size())
		}
		b = b[:h.Size()]
		if _, err := f.ReadAt(b, pos); err != nil {
			return err
		}
		if _, err := record.Verify(b); err != nil {
			return &CorruptionError{s.log(), pos, err.Error()}
		}
		if err := fn(b, h); err != nil {
			return err
		}
		pos += int64(h.Size())
	}
	return nil
}

func (l *Log) compactSegment(s *segment, o CompactOptions, last map[string]int64, producers map[int64]int64) (bool, error) {
	next := &segment{base: s.base, file: s.file, maxTime: -1, maxAt: -1, loaded: true}
	next.reset()
	f, err := l.fs.Create(s.log() + cleanedSuffix)
	if err != nil {
		return false, err
	}
	changed := false
	err = l.eachBatch(s, func(b []byte, h record.Header) error {
		kept, rewritten, err := compactBatch(b, h, o, last, producers[h.ProducerID] == h.BaseOffset)
		changed = changed || rewritten
		if err != nil || kept == nil {
			return err
		}
		kh, err := record.ParseHeader(kept)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(kept, next.size); err != nil {
			return err
		}
		next.note(kh, next.size, int64(l.cfg.IndexIntervalBytes))
		return nil
	})
	if err == nil && changed {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil || !changed {
		return false, errors.Join(err, l.fs.Remove(s.log()+cleanedSuffix))
	}
	return true, l.swap(s, next)
}

// swap lets the cleaned file take its segment's place: once renamed to .swap
// it is the truth, whatever crashes after that.
func (l *Log) swap(s, next *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := l.fs.Rename(s.log()+cleanedSuffix, s.log()+swapSuffix); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	if err := l.fs.Remove(s.idx()); err != nil && !isNotExist(err) {
		return err
	}
	l.files.forget(s.log())
	if err := l.fs.Rename(s.log()+swapSuffix, s.log()); err != nil {
		return fmt.Errorf("%s is half swapped, the next start ends it: %w", s.log(), err)
	}
	s.size, s.index, s.maxTime, s.maxAt, s.sinceIx = next.size, next.index, next.maxTime, next.maxAt, next.sinceIx
	return l.fs.SyncDir(l.dir)
}
