package commitlog

import (
	"errors"
	"hash/maphash"
	"math"
	"slices"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// cleaner is one pass of compaction.
type cleaner struct {
	*Log
	opts  CompactOptions
	stats CompactStats

	// What survey found in the whole log.
	aborted  map[int64][]offsetRange // by producer, in order
	lastData map[int64]int64         // base offset of each producer's last batch of records
	lastAny  map[int64]int64         // and of its last batch of any kind

	keys   map[keyHash]int64 // the last offset of each key below mapEnd
	mapEnd int64
	seeds  [2]maphash.Seed

	// live producers have a transaction of which a batch was kept, and whose
	// marker has not been met.
	live    map[int64]bool
	horizon int64 // the earliest of those that were left, ms
}

// keyHash stands for a key. The seeds are random, so nobody can make two keys
// collide on purpose, and 128 bits do not by chance.
type keyHash [2]uint64

type offsetRange struct{ first, last int64 }

func (c *cleaner) hash(key []byte) keyHash {
	return keyHash{maphash.Bytes(c.seeds[0], key), maphash.Bytes(c.seeds[1], key)}
}

// survey reads all headers and markers below the bound: a transaction's
// outcome lies after its records, and a producer's last batch may lie behind
// what is cleaned.
func (c *cleaner) survey() error {
	c.aborted, c.lastData, c.lastAny = map[int64][]offsetRange{}, map[int64]int64{}, map[int64]int64{}
	open := map[int64]int64{} // first offset of each producer's transaction
	for _, s := range c.list() {
		f, err := c.open(s)
		if err != nil {
			return err
		}
		err = c.surveySegment(s, f.file, open)
		c.files.release(f)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cleaner) surveySegment(s *segment, f vfs.File, open map[int64]int64) error {
	var inner error
	err := s.eachHeader(f, 0, s.size.Load(), s.base, func(h *record.Header, pos int64) bool {
		if !h.Idempotent() {
			return true
		}
		c.lastAny[h.ProducerID] = h.BaseOffset
		if !h.Control() {
			c.lastData[h.ProducerID] = h.BaseOffset
			if _, ok := open[h.ProducerID]; !ok && h.Transactional() {
				open[h.ProducerID] = h.BaseOffset
			}
			return true
		}
		first, ok := open[h.ProducerID]
		delete(open, h.ProducerID)
		if !ok {
			return true
		}
		var m record.Control
		if m, inner = s.marker(f, h, pos); inner == nil && m.Type == record.Abort {
			c.aborted[h.ProducerID] = append(c.aborted[h.ProducerID], offsetRange{first, h.BaseOffset})
		}
		return inner == nil
	})
	if inner != nil {
		return inner
	}
	return err
}

func (c *cleaner) isAborted(h *record.Header) bool {
	if !h.Transactional() {
		return false
	}
	for _, r := range c.aborted[h.ProducerID] {
		if h.BaseOffset >= r.first && h.BaseOffset < r.last {
			return true
		}
	}
	return false
}

// mapKeys notes the last offset of each key in the segments that end after
// clean. It returns the segments to clean: where there are too many keys, those
// before the rest, which a later pass takes.
func (c *cleaner) mapKeys(segments []*segment, clean int64) ([]*segment, error) {
	c.keys = map[keyHash]int64{}
	c.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	c.mapEnd = segments[len(segments)-1].end.Load()
	for i, s := range segments {
		if s.end.Load() <= clean {
			continue
		}
		err := c.batches(s, func(batch []byte, h *record.Header) error {
			if h.Control() || c.isAborted(h) {
				return nil
			}
			if len(c.keys)+int(h.Count) > maxKeys && len(c.keys) > 0 {
				c.mapEnd = h.BaseOffset
				return errFull
			}
			return record.ForEach(batch, c.opts.Limits, func(r *record.Record) error {
				if r.Key != nil {
					c.keys[c.hash(r.Key)] = r.Offset
				}
				return nil
			})
		})
		if err == errFull {
			return segments[:i+1], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return segments, nil
}

var errFull = errors.New("key map is full")

// open holds the file of s, which can then be read even when s is deleted.
func (c *cleaner) open(s *segment) (*handle, error) {
	c.shape.RLock()
	defer c.shape.RUnlock()
	if !slices.Contains(c.list(), s) {
		return nil, errSuperseded
	}
	return c.files.acquire(c.fs, s)
}

// batches calls fn with the verified batches of s.
func (c *cleaner) batches(s *segment, fn func(batch []byte, h *record.Header) error) error {
	f, err := c.open(s)
	if err != nil {
		return err
	}
	defer c.files.release(f)
	_, err = s.eachBatch(f.file, 0, s.size.Load(), s.base, func(batch []byte, h *record.Header, _ int64) error {
		return fn(batch, h)
	})
	return err
}

// clean rewrites the first of the segments, and as many of those after it as
// fit with what is left into limit bytes, as one: compaction leaves no crumbs.
// It returns how many.
func (c *cleaner) clean(segments []*segment, limit int64) (int, error) {
	next := newSegment(c.dir, segments[0].base)
	txns, err := c.txnsBefore(segments[0])
	if err != nil {
		return 0, err
	}
	next.txns.Store(txns)
	f, err := c.fs.Create(cleanedName(next))
	if err != nil {
		return 0, err
	}
	w := &segmentWriter{file: f, s: next, x: newIndex(), interval: c.interval.Load()}
	n, before, changed, err := c.fill(w, segments, limit)
	if err == nil && changed {
		if err = w.flush(); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil || !changed {
		return n, errors.Join(err, c.removeFile(cleanedName(next)))
	}
	next.end.Store(segments[n-1].end.Load())
	next.index.Store(w.x)
	c.stats.SegmentsCleaned += n
	c.stats.BytesBefore += before
	c.stats.BytesAfter += next.size.Load()
	if err := c.replace(segments[:n], before, next); err != nil {
		return n, err
	}
	c.keepIndexes(next)
	return n, nil
}

// txnsBefore returns the index of transactions of an empty segment in the place
// of s.
func (c *cleaner) txnsBefore(s *segment) (*txnIndex, error) {
	c.shape.RLock()
	defer c.shape.RUnlock()
	segments := c.list()
	i := at(segments, s.base)
	if i < 1 {
		return (*txnIndex)(nil).after(), nil
	}
	t, err := c.txnsOf(segments[i-1])
	if err != nil {
		return nil, err
	}
	return t.after(), nil
}

// keepIndexes writes the indexes of a cleaned segment, if it still is there.
func (c *cleaner) keepIndexes(s *segment) {
	c.shape.RLock()
	defer c.shape.RUnlock()
	if slices.Contains(c.list(), s) {
		_ = c.writeIndex(s) // no room for them: they are made again when needed
		c.keepIndex(s)
	}
}

// fill writes what is left of segments to w while it fits. It returns how many
// segments, their bytes, and whether w differs from them.
func (c *cleaner) fill(w *segmentWriter, segments []*segment, limit int64) (n int, before int64, changed bool, err error) {
	for _, s := range segments {
		size := s.size.Load()
		if n > 0 && (w.s.size.Load()+size > limit || s.end.Load()-w.s.base > maxSegment) {
			break
		}
		rewrote, err := c.cleanSegment(s, w)
		if err != nil {
			return n, before, changed, err
		}
		n, before, changed = n+1, before+size, changed || rewrote || n > 0
	}
	return n, before, changed, nil
}

func (c *cleaner) cleanSegment(s *segment, w *segmentWriter) (rewrote bool, err error) {
	err = c.batches(s, func(batch []byte, h *record.Header) error {
		kept, err := c.cleanBatch(batch, h)
		if err != nil {
			return err
		}
		if len(kept) == 0 || &kept[0] != &batch[0] {
			rewrote = true
		}
		return w.write(kept)
	})
	return rewrote, err
}

// cleanBatch returns what is left of a batch: itself, a new one, or nothing.
func (c *cleaner) cleanBatch(batch []byte, h *record.Header) ([]byte, error) {
	if h.NextOffset() <= c.Log.start.Load() {
		return nil, nil
	}
	if h.Control() {
		return c.cleanMarker(batch, h)
	}
	drop := c.isAborted(h)
	expired := h.DeleteHorizon() && c.opts.Now.UnixMilli() >= h.BaseTimestamp
	stays := func(r *record.Record) bool { return !drop && c.stays(r, expired) }
	var kept int32
	tombstones := false
	err := record.ForEach(batch, c.opts.Limits, func(r *record.Record) error {
		if stays(r) {
			kept++
			tombstones = tombstones || r.Value == nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.stats.RecordsDropped += int64(h.Count - kept)
	last := h.Idempotent() && c.lastData[h.ProducerID] == h.BaseOffset && c.keepProducer(h.ProducerID)
	if kept == 0 && !last {
		return nil, nil
	}
	if h.Transactional() {
		c.live[h.ProducerID] = true
	}
	horizon := c.horizonOf(h, tombstones)
	if kept == h.Count && (horizon < 0 || h.DeleteHorizon()) {
		return batch, nil
	}
	return record.Filter(batch, c.opts.Limits, horizon, stays)
}

// stays tells whether compaction keeps a record.
func (c *cleaner) stays(r *record.Record, expired bool) bool {
	if r.Offset >= c.mapEnd {
		return true
	}
	if r.Key == nil || r.Offset < c.Log.start.Load() {
		return false // without a key it can never be overwritten: not of a compacted topic
	}
	if last, ok := c.keys[c.hash(r.Key)]; ok && last > r.Offset {
		return false
	}
	return r.Value != nil || !expired
}

// horizonOf returns when tombstones or a marker that stay in a batch may go,
// or -1 where there are none.
func (c *cleaner) horizonOf(h *record.Header, needed bool) int64 {
	if !needed {
		return -1
	}
	horizon := c.opts.Now.Add(c.opts.DeleteRetention).UnixMilli()
	if h.DeleteHorizon() {
		horizon = h.BaseTimestamp
	}
	c.horizon = min(c.horizon, horizon)
	return horizon
}

// cleanMarker keeps a marker while a batch of its transaction is there, while
// it is the last that its producer wrote, and until its horizon.
func (c *cleaner) cleanMarker(batch []byte, h *record.Header) ([]byte, error) {
	live := c.live[h.ProducerID]
	delete(c.live, h.ProducerID)
	last := c.lastAny[h.ProducerID] == h.BaseOffset && c.keepProducer(h.ProducerID)
	if live || last || h.BaseOffset >= c.mapEnd {
		return batch, nil
	}
	if h.DeleteHorizon() && c.opts.Now.UnixMilli() >= h.BaseTimestamp {
		return nil, nil
	}
	horizon := c.horizonOf(h, true)
	if h.DeleteHorizon() {
		return batch, nil
	}
	return record.Filter(batch, c.opts.Limits, horizon, func(*record.Record) bool { return true })
}

func (c *cleaner) keepProducer(id int64) bool {
	return c.opts.KeepProducer == nil || c.opts.KeepProducer(id)
}

// segmentWriter writes a segment from start to end.
type segmentWriter struct {
	file     vfs.File
	s        *segment
	x        *index
	interval int64
	buf      []byte
	flushed  int64 // bytes
}

func (w *segmentWriter) write(batch []byte) error {
	if len(batch) == 0 {
		return nil
	}
	h, err := record.ParseHeader(batch)
	if err != nil {
		return err
	}
	pos := w.s.size.Load()
	if pos+int64(len(batch)) > math.MaxUint32 {
		return errors.New("a cleaned segment is too large")
	}
	w.x.note(&h, w.s.base, pos, w.interval)
	w.s.noteTxn(batch, &h)
	w.s.size.Store(pos + int64(len(batch)))
	w.buf = append(w.buf, batch...)
	if len(w.buf) < 1<<20 {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(w.buf, w.flushed)
	w.flushed += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}
