// Package commitlog is one partition's log: whole record batches in segment
// files, found again by offset, by time and by leader epoch. Below it is vfs,
// above it the storage node, which decides what may be appended and read.
//
// The invariant to remember: what Sync has returned survives any crash, and
// what does not match its checksum is never returned (invariants 13 and 28).
package commitlog

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Config says how a log is cut into segments.
type Config struct {
	SegmentBytes       int64         // roll before a segment grows beyond
	SegmentAge         time.Duration // roll a segment whose first batch is older; 0 never
	IndexIntervalBytes int32         // an index entry about every so many bytes
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{SegmentBytes: 1 << 30, SegmentAge: 7 * 24 * time.Hour, IndexIntervalBytes: 4096}
}

var (
	// ErrPoisoned is what a log answers after a failed fsync: nobody knows what
	// the disk holds, and asking again would hide it (rule N7).
	ErrPoisoned = errors.New("log is out of service after a failed fsync")
	// ErrClosed is what a closed log answers.
	ErrClosed = errors.New("log is closed")
	// ErrOffsetOutOfRange is wrapped by the error for an offset that the log
	// does not hold.
	ErrOffsetOutOfRange = errors.New("offset out of range")
)

// CorruptionError tells of stored bytes that do not match their checksum or
// their lengths. They are reported, never served (rule N6).
type CorruptionError struct {
	File     string
	Position int64
	Detail   string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.File, e.Position, e.Detail)
}

// Log is one partition's log. Appends, truncations and deletions take turns;
// reads run beside them.
type Log struct {
	fs    vfs.FS
	dir   string
	files *FileCache

	mu       sync.RWMutex // guards the list of segments and what follows
	cfg      Config
	segments []*segment // by base offset; the last one is active; never empty
	epochs   epochs
	dirty    []string // files written since the last Sync
	newNames bool     // the directory has names that are not durable
	poison   error
	closed   bool

	start   atomic.Int64
	end     atomic.Int64
	durable atomic.Int64
	syncing sync.Mutex // one Sync at a time
}

func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// StartOffset is the first offset that can be read.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset is the offset that the next record gets.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// DurableEnd is the offset before which everything survives a power loss.
func (l *Log) DurableEnd() int64 { return l.durable.Load() }

// SetConfig changes how the log is cut from now on.
func (l *Log) SetConfig(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = cfg
}

// Size is the number of bytes of all segments.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var n int64
	for _, s := range l.segments {
		s.mu.RLock()
		n += s.size
		s.mu.RUnlock()
	}
	return n
}

// SegmentCount is the number of segments, at least 1.
func (l *Log) SegmentCount() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.segments)
}

func (l *Log) usable() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.poison != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, l.poison)
	}
	return nil
}

// Append writes one verified batch, whose base offset and leader epoch are set
// and whose base offset is not before the end, into the page cache by one
// write. The batch is not kept. A failed write leaves no trace (rule N8).
func (l *Log) Append(batch []byte, h record.Header, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if h.BaseOffset < l.end.Load() || h.Size() != len(batch) {
		panic(fmt.Sprintf("append of batch at %d (%d of %d bytes) to a log that ends at %d", h.BaseOffset, len(batch), h.Size(), l.end.Load()))
	}
	s := l.active()
	if s.size > 0 && (s.size+int64(len(batch)) > l.cfg.SegmentBytes || l.aged(s, now) || h.LastOffset()-s.base > 1<<31-1) {
		if err := l.roll(h.BaseOffset); err != nil {
			return err
		}
		s = l.active()
	}
	f, release, err := l.files.open(l.fs, s.log())
	if err != nil {
		return err
	}
	defer release()
	if _, err := f.WriteAt(batch, s.size); err != nil {
		if cut := f.Truncate(s.size); cut != nil {
			l.poison = cut
		}
		return err
	}
	if s.size == 0 {
		s.born = now.UnixMilli()
	}
	s.mu.Lock()
	s.note(h, s.size, int64(l.cfg.IndexIntervalBytes))
	s.mu.Unlock()
	if l.epochs.assign(h.LeaderEpoch, h.BaseOffset) {
		if err := l.saveState(false); err != nil {
			l.poison = err
			return err
		}
	}
	l.markDirty(s.log())
	l.end.Store(h.NextOffset())
	return nil
}

func (l *Log) aged(s *segment, now time.Time) bool {
	return l.cfg.SegmentAge > 0 && s.born > 0 && now.UnixMilli()-s.born >= l.cfg.SegmentAge.Milliseconds()
}

func (l *Log) markDirty(name string) {
	for _, d := range l.dirty {
		if d == name {
			return
		}
	}
	l.dirty = append(l.dirty, name)
}

// roll ends the active segment and begins one at base.
func (l *Log) roll(base int64) error {
	old := l.active()
	if err := l.settle(); err != nil {
		return err
	}
	if err := writeFile(l.fs, old.idx(), old.encodeIndex()); err != nil {
		return err
	}
	s := &segment{base: base, file: segmentName(l.dir, base), end: base, maxTime: -1, maxAt: -1, loaded: true}
	f, err := l.fs.Create(s.log())
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	l.newNames = true
	l.segments = append(l.segments, s)
	return nil
}

// settle makes everything durable, so that only the last segment of a log can
// have a torn tail, and leaves a mark of it. A failed fsync poisons the log.
func (l *Log) settle() error {
	if err := l.syncFiles(l.dirty, l.newNames); err != nil {
		l.poison = err
		return fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	l.dirty, l.newNames = nil, false
	l.durable.Store(l.end.Load())
	return l.saveState(false)
}

// Sync makes all that was appended before the call durable and returns the
// end of it. It may run beside appends. After a failure the log is poisoned.
func (l *Log) Sync() (int64, error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	dirty, names, end := l.dirty, l.newNames, l.end.Load()
	l.dirty, l.newNames = nil, false
	l.mu.Unlock()
	if err := l.syncFiles(dirty, names); err != nil {
		l.mu.Lock()
		l.poison = err
		l.mu.Unlock()
		return 0, fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	if end > l.durable.Load() {
		l.durable.Store(end)
		l.writeMark(end)
	}
	return end, nil
}

func (l *Log) syncFiles(dirty []string, names bool) error {
	for _, name := range dirty {
		f, release, err := l.files.open(l.fs, name)
		if isNotExist(err) {
			continue // deleted since
		}
		if err == nil {
			err = f.Sync()
			release()
		}
		if err != nil {
			return err
		}
	}
	if names {
		return l.fs.SyncDir(l.dir)
	}
	return nil
}

// Close makes the log durable, leaves a mark that says so, and lets go of its
// files.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	healthy := l.poison == nil
	l.mu.Unlock()
	var err error
	if healthy {
		if _, err = l.Sync(); err == nil {
			err = l.closeClean()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, s := range l.segments {
		l.files.forget(s.log())
	}
	l.files.forget(path.Join(l.dir, markFile))
	return err
}

func (l *Log) closeClean() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.active()
	if err := writeFile(l.fs, s.idx(), s.encodeIndex()); err != nil {
		return err
	}
	return l.saveState(true)
}
