// Package commitlog is one partition's log: whole record batches in segment
// files, found again by offset, by time and by leader epoch. Below it is vfs,
// the disk; above it the storage node, which decides what may be appended and
// read. FORMAT.md has the byte tables and what every crash leaves.
//
// The invariant to remember: what Sync has returned survives any crash, and
// what does not match its checksum is never returned (invariants 13 and 28).
package commitlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Config says how a log is cut into segments. A zero field is its default.
type Config struct {
	SegmentBytes       int64         // roll before a segment grows beyond; at most 2^31-1
	SegmentAge         time.Duration // roll once the first batch is so old
	IndexIntervalBytes int32         // an index entry about every so many bytes
}

// DefaultConfig returns Kafka's defaults: 1 GiB, 7 days, 4096 bytes.
func DefaultConfig() Config {
	return Config{SegmentBytes: 1 << 30, SegmentAge: 7 * 24 * time.Hour, IndexIntervalBytes: 4096}
}

func (c Config) filled() Config {
	d := DefaultConfig()
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = d.SegmentBytes
	}
	if c.SegmentAge <= 0 {
		c.SegmentAge = d.SegmentAge
	}
	if c.IndexIntervalBytes <= 0 {
		c.IndexIntervalBytes = d.IndexIntervalBytes
	}
	c.SegmentBytes = min(c.SegmentBytes, maxSegment)
	return c
}

// Log is one partition's log. All methods may be called at once: appends take
// turns, reads run beside them, and so does Sync. It starts no goroutine and
// reads no clock.
type Log struct {
	fs    vfs.FS
	dir   string
	files *FileCache

	// Locks, in the order in which they are taken. compacting: one compaction at
	// a time. admin: whatever fsyncs or removes, one at a time. shape: held for
	// reading by reads, locked while files shrink or go. mu: the writer's.
	// saving: who writes a checkpoint.
	compacting sync.Mutex
	admin      sync.Mutex
	shape      sync.RWMutex
	mu         sync.Mutex
	saving     sync.Mutex

	segments atomic.Pointer[[]*segment] // by base; the last one is active; changed under mu
	interval atomic.Int64               // Config.IndexIntervalBytes
	start    atomic.Int64
	end      atomic.Int64 // stored after the bytes before it can be read
	durable  atomic.Int64
	sequence atomic.Int64 // of the last checkpoint; 0: there is none yet; changed under saving

	loadedMu sync.Mutex
	loaded   []*segment // whose indexes came from disk, oldest first

	txnLoading sync.Mutex // one load of transaction indexes at a time; taken after shape, before mu

	// Guarded by mu.
	cfg      Config
	epochs   epochs
	dirty    []*segment // with bytes that are not fsynced
	newNames bool       // the directory has names that are not durable
	failed   error      // why the log is poisoned
	closed   bool

	// Guarded by admin.
	mark      mark
	marked    int64 // offset of the mark on disk
	sinceMark int64 // bytes made durable since
	cleanEnd  int64
	hint      *segment // stands for the hint file in the cache
	hintBuf   [hintSize]byte
	syncing   []*segment // spare memory of Sync
	held      []*handle  // likewise

	// horizon is when a tombstone or marker is next due, ms; 0 is unknown.
	// Guarded by compacting.
	horizon int64

	// shut is set, with all readers shut out, when the log is closed: by then other
	// files may have the names of its segments.
	shut atomic.Bool
}

func (l *Log) list() []*segment { return *l.segments.Load() }

func (l *Log) setList(segments []*segment) { l.segments.Store(&segments) }

// active returns the segment that is appended to; nil before the first append.
func (l *Log) active() *segment {
	if segments := l.list(); len(segments) > 0 {
		return segments[len(segments)-1]
	}
	return nil
}

// StartOffset is the first offset that can be read. It never decreases.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset is the offset that the next record gets.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// DurableEnd is the offset before which everything survives a power loss.
func (l *Log) DurableEnd() int64 { return l.durable.Load() }

// SetConfig changes how the log is cut from now on.
func (l *Log) SetConfig(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = cfg.filled()
	l.interval.Store(int64(l.cfg.IndexIntervalBytes))
}

// Size is the bytes of batches in all segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range l.list() {
		n += s.size.Load()
	}
	return n
}

// SegmentCount is the number of segments; 0 before the first append.
func (l *Log) SegmentCount() int { return len(l.list()) }

// usable says why the log cannot be changed; the caller holds mu.
func (l *Log) usable() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.failed != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, l.failed)
	}
	return nil
}

// poison takes the log out of service for good (rule N7).
func (l *Log) poison(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// Append writes one batch into the page cache, by one write. The batch must
// have been verified, h be its header, its base offset and leader epoch be
// set, and its base offset not lie before the end. The batch is not kept. now
// decides only whether the segment is too old. A failed write leaves no trace
// and the log can go on (rule N8).
func (l *Log) Append(batch []byte, h record.Header, now time.Time) error {
	if err := l.knowTxns(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if h.BaseOffset < l.end.Load() || h.Size() != len(batch) {
		return fmt.Errorf("append of a batch of %d bytes, %d given, at offset %d to a log that ends at %d", h.Size(), len(batch), h.BaseOffset, l.end.Load())
	}
	s, err := l.segmentFor(&h, now.UnixMilli())
	if err != nil {
		return err
	}
	x, err := l.indexOf(s)
	if err != nil {
		return err
	}
	if err := l.pin(s); err != nil {
		return err
	}
	pos := s.size.Load()
	if _, err := s.pinned.file.WriteAt(batch, pos); err != nil {
		return l.rollBack(s, pos, err)
	}
	x.note(&h, s.base, pos, int64(l.cfg.IndexIntervalBytes))
	s.noteTxn(batch, &h)
	l.epochs.assign(h.LeaderEpoch, h.BaseOffset)
	s.end.Store(h.NextOffset()) // before size: readers hold batches against it
	s.size.Store(pos + int64(len(batch)))
	l.end.Store(h.NextOffset())
	return nil
}

// segmentFor returns the active segment, a new one if the batch is not to go
// into the old one.
func (l *Log) segmentFor(h *record.Header, now int64) (*segment, error) {
	s := l.active()
	switch {
	case s != nil && s.frozen:
		s = nil
	case s != nil && s.size.Load() > 0:
		if err := l.learnBirth(s, now); err != nil {
			return nil, err
		}
		full := s.size.Load()+int64(h.Size()) > l.cfg.SegmentBytes
		if !full && h.LastOffset()-s.base <= maxSegment && !l.aged(s, now) {
			return s, nil
		}
		s = nil
	}
	if s == nil {
		if err := l.roll(); err != nil {
			return nil, err
		}
		s = l.active()
	}
	if h.BaseOffset-s.base > math.MaxUint32 {
		return nil, fmt.Errorf("a batch at offset %d in a segment at %d: the gap is too large", h.BaseOffset, s.base)
	}
	s.born = now
	return s, nil
}

// learnBirth dates a segment of an earlier life by its first batch.
func (l *Log) learnBirth(s *segment, now int64) error {
	if s.born > 0 {
		return nil
	}
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return err
	}
	defer l.files.release(f)
	return s.eachHeader(f.file, 0, s.size.Load(), s.base, func(h *record.Header, _ int64) bool {
		s.born = now
		if h.MaxTimestamp > 0 {
			s.born = min(h.MaxTimestamp, now)
		}
		return false
	})
}

func (l *Log) aged(s *segment, now int64) bool { return now-s.born >= l.cfg.SegmentAge.Milliseconds() }

// pin holds the file of s open until it is fsynced; the caller holds mu.
func (l *Log) pin(s *segment) error {
	if s.pinned == nil {
		h, err := l.files.acquire(l.fs, s)
		if err != nil {
			return err
		}
		s.pinned = h
	}
	if !s.dirty {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
	return nil
}

func (l *Log) unpin(s *segment) {
	s.dirty = false
	if s.pinned != nil {
		l.files.release(s.pinned)
		s.pinned = nil
	}
}

// rollBack cuts off what a failed write left.
func (l *Log) rollBack(s *segment, pos int64, cause error) error {
	if err := s.pinned.file.Truncate(pos); err != nil {
		l.failed = errors.Join(cause, err)
	}
	return fmt.Errorf("append to %s: %w", s.log, cause)
}

// roll makes the log go on in a new segment, which begins at the log's end.
// It is not fsynced: Sync does that, and recovery notices a segment that does
// not begin where the one before it ends. The caller holds mu; the active
// segment is not empty.
func (l *Log) roll() error {
	s, old := newSegment(l.dir, l.end.Load()), l.active()
	if old != nil {
		if err := l.firstCheckpoint(); err != nil {
			return err
		}
	}
	f, err := l.fs.Create(s.log)
	if err != nil {
		return fmt.Errorf("begin segment %s: %w", s.log, err)
	}
	s.index.Store(newIndex())
	if old == nil {
		s.txns.Store((*txnIndex)(nil).after())
	} else if t := old.txns.Load(); t != nil {
		s.txns.Store(t.after())
	}
	s.pinned = l.files.insert(s, f)
	s.dirty = true
	l.dirty = append(l.dirty, s)
	l.newNames = true
	l.setList(append(slices.Clone(l.list()), s))
	if old != nil {
		_ = l.writeIndex(old) // no room for it: the index is made again when needed
		l.keepIndex(old)
	}
	return nil
}

// Roll ends the active segment, unless it is empty.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if s := l.active(); s == nil || s.size.Load() == 0 {
		return nil
	}
	return l.roll()
}

// MaybeRoll ends the active segment if its first batch is older than
// Config.SegmentAge.
func (l *Log) MaybeRoll(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	s := l.active()
	if s == nil || s.size.Load() == 0 {
		return nil
	}
	if err := l.learnBirth(s, now.UnixMilli()); err != nil || !l.aged(s, now.UnixMilli()) {
		return err
	}
	return l.roll()
}

// Close makes the log durable, marks where it ends so that the next Open need
// not scan, and lets go of its files. A log that failed is closed as it is.
func (l *Log) Close() error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	closed, failed := l.closed, l.failed
	l.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if failed == nil {
		err = l.closeClean()
	}
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.shut.Store(true)
	for _, s := range l.list() {
		l.unpin(s)
		l.files.drop(s)
	}
	l.files.drop(l.hint)
	return err
}

func (l *Log) closeClean() error {
	if _, err := l.sync(); err != nil {
		return err
	}
	if s := l.active(); s != nil {
		_ = l.writeIndex(s) // it is made again when needed
	}
	if l.marked == l.end.Load() && l.sinceMark == 0 {
		return nil
	}
	return l.saveCheckpoint(l.checkpoint())
}

// Abandon closes the log as it is: nothing more is written to its files.
func (l *Log) Abandon() error {
	l.poison(errors.New("the log was given up"))
	return l.Close()
}

// Remove closes the log and removes its directory with all in it.
func (l *Log) Remove() error {
	l.poison(errors.New("the log was removed"))
	if err := l.Close(); err != nil {
		return err
	}
	return l.fs.RemoveAll(l.dir)
}
