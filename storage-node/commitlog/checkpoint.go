package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"

	"moldau.dev/storage-node/vfs"
)

// checkpoint is what the segments themselves do not say. Two generations are
// kept, written in turn; the valid one of the larger sequence counts.
type checkpoint struct {
	sequence int64
	start    int64 // log start offset
	cleanEnd int64 // compaction has seen all before
	mark     mark
	sealed   []sealedSegment // the segments before the mark's, all durable
	epochs   epochs
}

// mark is a point that the log was durable up to. Where the log now ends there
// nothing needs to be scanned; a log that ends before it has lost data.
type mark struct {
	offset int64
	base   int64 // of the segment in which it lies, or -1: none has bytes there
	pos    int64 // bytes in that segment
}

type sealedSegment struct{ base, size int64 }

const (
	checkpointMagic = "MCK1"
	checkpointFixed = 4 + 4 + 8*6 + 4 + 4 // see FORMAT.md
	checkpointStem  = "checkpoint."
)

// markEvery bounds the bytes between two marks, so also what an unclean start
// has to scan beside what was never fsynced.
const markEvery = 64 << 20

func (c *checkpoint) encode() []byte {
	be := binary.BigEndian
	b := make([]byte, 0, checkpointFixed+16*len(c.sealed)+12*len(c.epochs))
	b = append(b, checkpointMagic+"\x00\x00\x00\x00"...)
	for _, v := range []int64{c.sequence, c.start, c.cleanEnd, c.mark.offset, c.mark.base, c.mark.pos} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, uint32(len(c.sealed)))
	b = be.AppendUint32(b, uint32(len(c.epochs)))
	for _, s := range c.sealed {
		b = be.AppendUint64(b, uint64(s.base))
		b = be.AppendUint64(b, uint64(s.size))
	}
	for _, e := range c.epochs {
		b = be.AppendUint32(b, uint32(e.epoch))
		b = be.AppendUint64(b, uint64(e.start))
	}
	return sealFile(b)
}

func (c *checkpoint) decode(b []byte) bool {
	be := binary.BigEndian
	if !sealed(b, checkpointMagic, checkpointFixed) {
		return false
	}
	for i, v := range []*int64{&c.sequence, &c.start, &c.cleanEnd, &c.mark.offset, &c.mark.base, &c.mark.pos} {
		*v = int64(be.Uint64(b[8+8*i:]))
	}
	nSealed, nEpochs := int64(be.Uint32(b[56:])), int64(be.Uint32(b[60:]))
	if int64(len(b)-checkpointFixed) != 16*nSealed+12*nEpochs || c.start < 0 || c.mark.offset < 0 {
		return false
	}
	b = b[checkpointFixed:]
	for range nSealed {
		c.sealed = append(c.sealed, sealedSegment{int64(be.Uint64(b)), int64(be.Uint64(b[8:]))})
		b = b[16:]
	}
	for range nEpochs {
		c.epochs = append(c.epochs, epochStart{int32(be.Uint32(b)), int64(be.Uint64(b[4:]))})
		b = b[12:]
	}
	return true
}

// checkpoint describes the log up to its mark; the caller holds admin.
func (l *Log) checkpoint() checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.describe(l.list(), l.start.Load(), l.mark, l.epochs)
}

// describe makes a checkpoint of a log that consists of segments, of which
// those that it lists are never appended to again; the caller holds mu.
func (l *Log) describe(segments []*segment, start int64, m mark, e epochs) checkpoint {
	c := checkpoint{start: start, cleanEnd: l.cleanEnd, mark: m, epochs: append(epochs(nil), e...)}
	for _, s := range segments {
		if m.base >= 0 && s.base >= m.base || s.base >= m.offset {
			break
		}
		s.frozen = true
		c.sealed = append(c.sealed, sealedSegment{s.base, s.size.Load()})
	}
	return c
}

// saveCheckpoint makes c durable (rule R16); the caller holds admin. After a
// failure for another reason than a full disk the log is poisoned.
func (l *Log) saveCheckpoint(c checkpoint) error {
	l.saving.Lock()
	err := l.writeCheckpoint(c)
	l.saving.Unlock()
	if err != nil {
		if !errors.Is(err, syscall.ENOSPC) {
			l.poison(err)
		}
		return err
	}
	l.marked = c.mark.offset
	l.sinceMark = 0
	return nil
}

// firstCheckpoint gives a log its first checkpoint before it gets a second
// segment, so that several segments without one have lost it. It promises
// nothing. The caller holds mu, and fails the log as saveCheckpoint does.
func (l *Log) firstCheckpoint() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	if l.sequence.Load() > 0 {
		return nil
	}
	err := l.writeCheckpoint(checkpoint{mark: mark{base: -1}})
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		l.failed = err
	}
	return err
}

// writeCheckpoint writes c as the next generation; the caller holds saving.
// Before the first one the name of the log's directory is made durable.
func (l *Log) writeCheckpoint(c checkpoint) error {
	c.sequence = l.sequence.Load() + 1
	if c.sequence == 1 {
		if err := l.fs.SyncDir(path.Dir(l.dir)); err != nil {
			return fmt.Errorf("write checkpoint: %w", err)
		}
	}
	if err := vfs.WriteFile(l.fs, l.slot(c.sequence), c.encode()); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	l.sequence.Store(c.sequence)
	return nil
}

func (l *Log) slot(sequence int64) string {
	return path.Join(l.dir, checkpointStem+string('0'+rune(sequence&1)))
}

// loadCheckpoint returns the last checkpoint; found is false where there is
// none, and damaged tells that a generation does not hold.
func (l *Log) loadCheckpoint() (c checkpoint, found, damaged bool, err error) {
	for slot := range int64(2) {
		b, err := vfs.ReadFile(l.fs, l.slot(slot))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, false, false, err
		}
		var this checkpoint
		if !this.decode(b) {
			damaged = true
			continue
		}
		if !found || this.sequence > c.sequence {
			c, found = this, true
		}
	}
	l.sequence.Store(c.sequence)
	return c, found, damaged, nil
}
