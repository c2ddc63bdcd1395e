package commitlog

import (
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Recovery tells what Open found.
type Recovery struct {
	Clean          bool  // the log was closed in order
	BatchesScanned int   // whose checksums were verified
	TruncatedBytes int64 // of a tail that no Sync had covered
}

// Open opens the log in dir and makes it where there is none. After an unclean
// end it verifies the last segment and cuts it at the first batch that does
// not hold; where a Sync had covered that batch, it answers *CorruptionError
// and changes nothing (rule N6).
func Open(fs vfs.FS, dir string, cfg Config, files *FileCache) (*Log, Recovery, error) {
	l := &Log{fs: fs, dir: dir, cfg: cfg, files: files}
	var rec Recovery
	if err := fs.MkdirAll(dir); err != nil {
		return nil, rec, err
	}
	b, err := readFile(fs, path.Join(dir, stateFile))
	if err != nil {
		return nil, rec, err
	}
	st, known := decodeState(b)
	if err := l.findSegments(); err != nil {
		return nil, rec, err
	}
	if len(l.segments) == 0 {
		return l.create(st)
	}
	rec.Clean = known && st.clean
	if st.durable, err = l.readMark(st.durable); err != nil {
		return nil, rec, err
	}
	l.epochs = st.epochs
	l.start.Store(max(st.start, l.segments[0].base))
	if err := l.openSegments(&rec, st); err != nil {
		return nil, rec, err
	}
	end := l.active().end
	if end < st.durable {
		return nil, rec, &CorruptionError{l.active().log(), l.active().size, fmt.Sprintf("the log ends at offset %d, %d was durable", end, st.durable)}
	}
	l.end.Store(end)
	l.durable.Store(st.durable)
	l.epochs.truncate(end)
	if !known {
		if err := l.rebuildEpochs(); err != nil {
			return nil, rec, err
		}
	}
	if rec.Clean {
		l.durable.Store(end)
	} else {
		for _, s := range l.segments {
			l.dirty = append(l.dirty, s.log()) // the page cache may hold it, the disk may not
		}
		l.newNames = true
	}
	// From the first append on the log is not clean any more (rule N2).
	return l, rec, l.saveState(false)
}

func (l *Log) create(st state) (*Log, Recovery, error) {
	if st.durable > st.start {
		return nil, Recovery{}, &CorruptionError{l.dir, 0, fmt.Sprintf("no segment is left, offset %d was durable", st.durable)}
	}
	s := &segment{base: st.start, file: segmentName(l.dir, st.start), end: st.start, maxTime: -1, maxAt: -1, loaded: true}
	f, err := l.fs.Create(s.log())
	if err != nil {
		return nil, Recovery{}, err
	}
	if err := f.Close(); err != nil {
		return nil, Recovery{}, err
	}
	if err := l.fs.SyncDir(path.Dir(l.dir)); err != nil {
		return nil, Recovery{}, err
	}
	l.segments, l.newNames = []*segment{s}, true
	l.start.Store(st.start)
	l.end.Store(st.start)
	l.durable.Store(st.start)
	return l, Recovery{Clean: true}, l.saveState(false)
}

func (l *Log) findSegments() error {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	if names, err = l.finishSwap(names); err != nil {
		return err
	}
	for _, n := range names {
		digits, ok := strings.CutSuffix(n, ".log")
		if !ok || len(digits) != 20 {
			continue
		}
		base, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			continue
		}
		l.segments = append(l.segments, &segment{base: base, file: segmentName(l.dir, base), end: base, maxTime: -1, maxAt: -1})
	}
	sort.Slice(l.segments, func(i, j int) bool { return l.segments[i].base < l.segments[j].base })
	return nil
}

func (l *Log) openSegments(rec *Recovery, st state) error {
	last := len(l.segments) - 1
	for i, s := range l.segments {
		if i < last {
			s.end = l.segments[i+1].base
			size, err := l.fileSize(s)
			if err != nil {
				return err
			}
			s.size = size
			continue // its index is loaded when it is first read
		}
		if rec.Clean && l.loadIndex(s) == nil && s.loaded {
			continue
		}
		if err := l.recoverActive(s, rec, st.durable); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) fileSize(s *segment) (int64, error) {
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return 0, err
	}
	defer release()
	return f.Size()
}

// recoverActive verifies the last segment and cuts its torn tail.
func (l *Log) recoverActive(s *segment, rec *Recovery, durable int64) error {
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return err
	}
	defer release()
	size, err := f.Size()
	if err != nil {
		return err
	}
	s.reset()
	end, why := scan(f, 0, size, s.base, true, func(h record.Header, pos int64) {
		s.note(h, pos, int64(l.cfg.IndexIntervalBytes))
		l.epochs.assign(h.LeaderEpoch, h.BaseOffset)
		rec.BatchesScanned++
	})
	s.loaded = true
	if why == nil {
		return nil
	}
	if s.end < durable {
		return &CorruptionError{s.log(), end, why.Error()}
	}
	rec.TruncatedBytes = size - end
	if err := f.Truncate(end); err != nil {
		return err
	}
	return f.Sync() // or a later tear could mix the old tail into new batches
}

func (s *segment) reset() {
	s.end, s.size, s.index, s.maxTime, s.maxAt, s.sinceIx = s.base, 0, nil, -1, -1, 0
}

// loadIndex makes the segment's index ready, from its file where that holds
// and from the segment otherwise.
func (l *Log) loadIndex(s *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return err
	}
	defer release()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b, err := readFile(l.fs, s.idx())
	if err != nil {
		return err
	}
	if s.decodeIndex(b, size) {
		s.loaded = true
		return nil
	}
	if was := indexedSize(b); was > size {
		return &CorruptionError{s.log(), size, fmt.Sprintf("the segment had %d bytes", was)}
	}
	end := s.end
	s.reset()
	pos, why := scan(f, 0, size, s.base, false, func(h record.Header, pos int64) {
		s.note(h, pos, int64(l.cfg.IndexIntervalBytes))
	})
	s.end, s.size = max(end, s.end), size
	if why != nil {
		return &CorruptionError{s.log(), pos, why.Error()}
	}
	s.loaded = true
	return nil
}

func (l *Log) rebuildEpochs() error {
	l.epochs = nil
	for _, s := range l.segments {
		f, release, err := l.files.open(l.fs, s.log())
		if err != nil {
			return err
		}
		pos, why := scan(f, 0, s.size, s.base, false, func(h record.Header, _ int64) { l.epochs.assign(h.LeaderEpoch, h.BaseOffset) })
		release()
		if why != nil {
			return &CorruptionError{s.log(), pos, why.Error()}
		}
	}
	return nil
}
