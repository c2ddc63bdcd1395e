package commitlog

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"moldau.dev/services/record"
)

// CompactOptions bound a compaction.
type CompactOptions struct {
	Now time.Time
	// DeleteRetention is how long tombstones and transaction markers stay after
	// the compaction that first found nothing else to be kept before them (KIP-534).
	DeleteRetention time.Duration
	// MinLag leaves segments alone whose newest record is younger.
	MinLag time.Duration
	// Bound leaves offsets from here on alone: the smaller of last stable offset
	// and high watermark.
	Bound int64
	// KeepProducer tells whether a producer's last batch must stay, without
	// records if need be; nil is all.
	KeepProducer func(producerID int64) bool
	// Limits of decompression; the zero value is record.DefaultLimits.
	Limits record.Limits
}

// CompactStats tells what a compaction did.
type CompactStats struct {
	SegmentsCleaned int // that were rewritten
	BytesBefore     int64
	BytesAfter      int64
	RecordsDropped  int64
}

// maxKeys bounds the keys of one pass, at about 50 bytes each; what has more
// is compacted in several passes.
const maxKeys = 4 << 20

// Compact rewrites the segments before the active one, so that of the records
// of a key only the last stays, of those of aborted transactions none. Offsets
// never change. The last batch of a producer stays, without records if need
// be; so do a tombstone and a marker for DeleteRetention (invariant 29). It
// looks at nothing where nothing was added and nothing is due. Reads and
// appends go on meanwhile.
func Compact(l *Log, opts CompactOptions) (CompactStats, error) {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	if opts.Limits == (record.Limits{}) {
		opts.Limits = record.DefaultLimits()
	}
	c := &cleaner{Log: l, opts: opts, live: map[int64]bool{}, horizon: math.MaxInt64}
	if _, err := l.Sync(); err != nil {
		return c.stats, err
	}
	if err := c.run(); err != nil && !errors.Is(err, errSuperseded) {
		return c.stats, err
	}
	return c.stats, nil
}

// errSuperseded ends a pass whose segments retention or truncation took away
// meanwhile: the next pass sees what is left.
var errSuperseded = errors.New("segments were removed meanwhile")

func (c *cleaner) run() error {
	segments, err := c.cleanable()
	if err != nil || len(segments) == 0 {
		return err
	}
	clean := c.cleaned()
	if segments[len(segments)-1].end.Load() <= clean && c.opts.Now.UnixMilli() < c.Log.horizon {
		return nil
	}
	if err := c.survey(); err != nil {
		return err
	}
	if segments, err = c.mapKeys(segments, clean); err != nil {
		return err
	}
	limit := c.segmentBytes()
	for len(segments) > 0 {
		n, err := c.clean(segments, limit)
		if err != nil {
			return err
		}
		segments = segments[n:]
	}
	c.Log.horizon = c.horizon
	return c.noteCleaned(c.mapEnd)
}

func (l *Log) segmentBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg.SegmentBytes
}

func (l *Log) cleaned() int64 {
	l.admin.Lock()
	defer l.admin.Unlock()
	return l.cleanEnd
}

func (l *Log) noteCleaned(end int64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	if end <= l.cleanEnd {
		return nil
	}
	l.cleanEnd = min(end, l.end.Load())
	return l.saveCheckpoint(l.checkpoint())
}

// cleanable returns the segments from the first on that may be compacted.
func (c *cleaner) cleanable() ([]*segment, error) {
	c.shape.RLock()
	defer c.shape.RUnlock()
	segments := c.list()
	for i, s := range segments {
		x, err := c.indexOf(s)
		if err != nil {
			return nil, err
		}
		newest, _ := x.maxTimestamp()
		young := c.opts.MinLag > 0 && c.opts.Now.UnixMilli()-newest < c.opts.MinLag.Milliseconds()
		if young || s.end.Load() > c.opts.Bound || i == len(segments)-1 {
			return segments[:i], nil
		}
	}
	return nil, nil
}

const (
	cleanedSuffix = ".cleaned"
	swapSuffix    = ".swap"
)

func cleanedName(s *segment) string { return s.stem + cleanedSuffix }

// swapName says which segments the file stands for: those that begin in
// [s.base, end).
func swapName(s *segment, end int64) string {
	return fmt.Sprintf("%s-%020d%s", s.stem, end, swapSuffix)
}

func parseSwap(name string) (base, end int64, ok bool) {
	rest, ok := strings.CutSuffix(name, swapSuffix)
	if !ok || len(rest) != 41 || rest[20] != '-' {
		return 0, 0, false
	}
	base, err1 := strconv.ParseInt(rest[:20], 10, 64)
	end, err2 := strconv.ParseInt(rest[21:], 10, 64)
	return base, end, err1 == nil && err2 == nil && base >= 0 && end > base
}

// replace puts next, whose file is complete and fsynced under its .cleaned
// name, in the place of old. The checkpoint that lists it is what decides:
// before, the old segments are the log; after it, the new one.
func (l *Log) replace(old []*segment, size int64, next *segment) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	i := slices.Index(l.list(), old[0])
	if i < 0 || !unchanged(l.list()[i:], old, size) {
		return errors.Join(l.removeFile(cleanedName(next)), errSuperseded)
	}
	swap := swapName(next, next.end.Load())
	if err := l.fs.Rename(cleanedName(next), swap); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		l.poison(err)
		return err
	}
	l.mu.Lock()
	ck := l.describe(slices.Concat(l.list()[:i], []*segment{next}, l.list()[i+len(old):]), l.start.Load(), l.mark, l.epochs)
	l.mu.Unlock()
	if err := l.saveCheckpoint(ck); err != nil {
		return errors.Join(err, l.removeFile(swap))
	}
	l.shape.Lock()
	defer l.shape.Unlock()
	for _, s := range old {
		l.files.drop(s)
	}
	if err := l.finishSwap(swap, next.base, old); err != nil {
		l.poison(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setList(slices.Concat(l.list()[:i], []*segment{next}, l.list()[i+len(old):]))
	return nil
}

// unchanged tells whether a log's segments still begin with old, of that size,
// and go on after it.
func unchanged(now, old []*segment, size int64) bool {
	if len(now) <= len(old) || !slices.Equal(now[:len(old)], old) {
		return false
	}
	for _, s := range old {
		size -= s.size.Load()
	}
	return size == 0
}

// finishSwap removes the segments that a committed swap file stands for and
// gives it its name. The removal is durable before that, lest both are found.
func (l *Log) finishSwap(swap string, base int64, old []*segment) error {
	for _, s := range old {
		if err := l.removeIndex(s); err != nil {
			return err
		}
		if s.base == base {
			continue // the rename replaces it
		}
		if err := l.removeFile(s.log); err != nil {
			return err
		}
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	if err := l.fs.Rename(swap, newSegment(l.dir, base).log); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// finishSwaps ends the compactions that a crash interrupted: swap files that
// the checkpoint lists take their place, others go.
func (r *opening) finishSwaps(names []string) ([]string, error) {
	changed := false
	for _, name := range names {
		base, end, ok := parseSwap(name)
		if !ok {
			continue
		}
		changed = true
		full := path.Join(r.dir, name)
		committed, err := r.committed(full, base, end)
		if err != nil {
			return nil, err
		}
		if !committed {
			if err := r.removeFile(full); err != nil {
				return nil, err
			}
			continue
		}
		var old []*segment
		for _, n := range names {
			if b, ok := parseBase(n, logSuffix); ok && b >= base && b < end {
				old = append(old, newSegment(r.dir, b))
			}
		}
		if err := r.finishSwap(full, base, old); err != nil {
			return nil, err
		}
	}
	if !changed {
		return names, nil
	}
	return r.fs.List(r.dir)
}

// committed tells whether the checkpoint lists the swap file in the place of
// what it stands for. Without a checkpoint either will do.
func (r *opening) committed(name string, base, end int64) (bool, error) {
	info, err := r.fs.Stat(name)
	if err != nil || r.Rebuilt {
		return err == nil, err
	}
	listed := false
	for _, s := range r.ck.sealed {
		switch {
		case s.base == base:
			listed = s.size == info.Size
		case s.base > base && s.base < end:
			return false, nil
		}
	}
	return listed, nil
}
