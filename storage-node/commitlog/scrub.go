package commitlog

import (
	"errors"
	"slices"

	"moldau.dev/services/record"
)

// Scrub is one look at all that a log holds on disk, in steps.
type Scrub struct {
	log     *Log
	segment *segment // being looked at; nil: none yet
	pos     int64    // bytes of it that were
	next    int64    // the next segment to look at has this base, or a later one
}

// Scrub begins to read the whole log again, whatever was verified before: a disk
// may lose what it once gave back (rule N6).
func (l *Log) Scrub() *Scrub { return &Scrub{log: l} }

// errStepDone ends a step after whole batches.
var errStepDone = errors.New("step done")

// Step verifies about limit bytes more, at least one batch, and returns how many
// it read; done after the last. Damage is a *CorruptionError. Between two steps
// the log may be cut, compacted or grow: what is damaged only on going on from
// there is looked at again from the segment's start.
func (c *Scrub) Step(limit int64) (read int64, done bool, err error) {
	l := c.log
	l.shape.RLock()
	defer l.shape.RUnlock()
	if l.shut.Load() {
		return 0, true, ErrClosed
	}
	if c.segment == nil || !slices.Contains(l.list(), c.segment) {
		if !c.choose() {
			return 0, true, nil
		}
	}
	s, from := c.segment, c.pos
	read, err = c.verify(limit)
	if err != nil && from > 0 && errors.As(err, new(*CorruptionError)) {
		c.pos = 0
		var again int64
		again, err = c.verify(s.size.Load())
		read += again
	}
	if err == nil && c.pos >= s.size.Load() {
		c.next, c.segment = max(s.end.Load(), s.base+1), nil
	}
	return read, false, err
}

// choose goes to the start of the next segment, if there is one; the caller holds
// shape.
func (c *Scrub) choose() bool {
	segments := c.log.list()
	i := slices.IndexFunc(segments, func(s *segment) bool { return s.base >= c.next })
	if i < 0 {
		return false
	}
	c.segment, c.pos = segments[i], 0
	return true
}

// verify reads on in the segment; the caller holds shape.
func (c *Scrub) verify(limit int64) (read int64, err error) {
	s := c.segment
	size := s.size.Load()
	if c.pos >= size {
		return 0, nil
	}
	f, err := c.log.files.acquire(c.log.fs, s)
	if err != nil {
		return 0, err
	}
	defer c.log.files.release(f)
	begin := c.pos
	_, err = s.eachBatch(f.file, begin, size, s.base, func(batch []byte, _ *record.Header, pos int64) error {
		c.pos = pos + int64(len(batch))
		if c.pos-begin >= limit && c.pos < size {
			return errStepDone
		}
		return nil
	})
	if errors.Is(err, errStepDone) {
		err = nil
	}
	return c.pos - begin, err
}
