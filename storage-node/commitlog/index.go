package commitlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math"
	"slices"
	"sort"
	"sync"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// index finds batches of one segment by offset and by time. It is sparse: an
// entry about every IndexIntervalBytes. In memory the two are one; on disk
// they are the files .index and .timeindex.
type index struct {
	mu      sync.RWMutex
	entries []entry
	since   int64 // bytes since the batch of the last entry began

	maxTime int64 // ms, the largest of the segment; -1 for none
	maxPos  int64 // where the first batch that has it begins
	tail    tail
}

// tail is a segment's last batch, by which a file that speaks of the segment
// is known to speak of it as it is.
type tail struct {
	pos int64 // where it begins; -1 for none
	crc uint32
}

// endsWith tells whether t is the last batch of s, of size bytes.
func (s *segment) endsWith(f vfs.File, t tail, size int64) bool {
	if size == 0 {
		return true
	}
	var head [record.HeaderSize]byte
	if t.pos < 0 || t.pos > size-record.HeaderSize || s.readFull(f, head[:], t.pos) != nil {
		return false
	}
	h, err := record.ParseHeader(head[:])
	return err == nil && h.CRC == t.crc && t.pos+int64(h.Size()) == size
}

// entry says that a batch begins at pos, and what came before it.
type entry struct {
	offset uint32 // of the batch, relative to the segment's base
	pos    uint32 // bytes
	before int64  // ms, the largest timestamp of the batches before; -1 for none
}

// maxSegment bounds a segment in bytes and offsets, so that entries are small.
const maxSegment = math.MaxInt32

func newIndex() *index { return &index{maxTime: -1, tail: tail{pos: -1}} }

// note takes a batch at pos in.
func (x *index) note(h *record.Header, base, pos, interval int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.entries) == 0 || x.since >= interval {
		x.entries = append(x.entries, entry{uint32(h.BaseOffset - base), uint32(pos), x.maxTime})
		x.since = 0
	}
	x.since += int64(h.Size())
	x.tail = tail{pos, h.CRC}
	if h.MaxTimestamp > x.maxTime {
		x.maxTime, x.maxPos = h.MaxTimestamp, pos
	}
}

// floor returns the last entry at or before the relative offset.
func (x *index) floor(offset int64) entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i].offset) > offset })
	if i == 0 {
		return entry{before: -1}
	}
	return x.entries[i-1]
}

// ceiling returns the position of the first entry at or after the relative
// offset, or size.
func (x *index) ceiling(offset, size int64) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i].offset) >= offset })
	if i == len(x.entries) {
		return size
	}
	return int64(x.entries[i].pos)
}

// boundary returns the last indexed position in (pos, limit], or -1.
func (x *index) boundary(pos, limit int64) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i].pos) > limit })
	if i == 0 || int64(x.entries[i-1].pos) <= pos {
		return -1
	}
	return int64(x.entries[i-1].pos)
}

// timeFloor returns the last indexed position before which all timestamps are
// below t.
func (x *index) timeFloor(t int64) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].before >= t })
	if i == 0 {
		return 0
	}
	return int64(x.entries[i-1].pos)
}

// maxTimestamp returns the largest timestamp and where its batch begins.
func (x *index) maxTimestamp() (ms, pos int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.maxTime, x.maxPos
}

// keptIndexes bounds the indexes of sealed segments that a log keeps in memory.
const keptIndexes = 8

// indexOf returns the index of s, from memory, its files or the segment.
func (l *Log) indexOf(s *segment) (*index, error) {
	if x := s.index.Load(); x != nil {
		return x, nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if x := s.index.Load(); x != nil {
		return x, nil
	}
	h, err := l.files.acquire(l.fs, s)
	if err != nil {
		return nil, err
	}
	defer l.files.release(h)
	x := l.loadIndex(s, h.file)
	if x == nil {
		if x, err = l.rebuildIndex(s, h.file); err != nil {
			return nil, err
		}
	}
	s.index.Store(x)
	l.keepIndex(s)
	return x, nil
}

// keepIndex lets go of the indexes that were loaded longest ago.
func (l *Log) keepIndex(s *segment) {
	l.loadedMu.Lock()
	defer l.loadedMu.Unlock()
	if slices.Contains(l.loaded, s) {
		return
	}
	l.loaded = append(l.loaded, s)
	if len(l.loaded) <= keptIndexes {
		return
	}
	old := l.loaded[0]
	l.loaded = slices.Delete(l.loaded, 0, 1)
	if segments := l.list(); len(segments) > 0 && old != segments[len(segments)-1] {
		old.index.Store(nil)
		old.txns.Store(nil)
	}
}

func (l *Log) rebuildIndex(s *segment, f vfs.File) (*index, error) {
	x := newIndex()
	interval := l.interval.Load()
	err := s.eachHeader(f, 0, s.size.Load(), s.base, func(h *record.Header, pos int64) bool {
		x.note(h, s.base, pos, interval)
		return true
	})
	return x, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	indexMagic      = "MIX1"
	indexHeaderSize = 4 + 4 + 8 + 8 + 8 + 4 + 4 // see FORMAT.md
	indexEntrySize  = 4 + 4
)

// encode appends the .index file. size is the segment's.
func (x *index) encode(base, size int64) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, indexHeaderSize+indexEntrySize*len(x.entries))
	b = append(b, indexMagic+"\x00\x00\x00\x00"...)
	b = be.AppendUint64(b, uint64(base))
	b = be.AppendUint64(b, uint64(size))
	b = be.AppendUint64(b, uint64(x.tail.pos))
	b = be.AppendUint32(b, x.tail.crc)
	b = be.AppendUint32(b, uint32(len(x.entries)))
	for _, e := range x.entries {
		b = be.AppendUint32(b, e.offset)
		b = be.AppendUint32(b, e.pos)
	}
	return sealFile(b)
}

// sealFile puts the checksum of all after it at byte 4.
func sealFile(b []byte) []byte {
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// sealed tells whether b is a file of that magic whose checksum holds.
func sealed(b []byte, magic string, minSize int) bool {
	return len(b) >= minSize && string(b[:4]) == magic &&
		binary.BigEndian.Uint32(b[4:]) == crc32.Checksum(b[8:], castagnoli)
}

// decode reads a .index file that speaks of a segment of that base and size.
func (x *index) decode(b []byte, base, size int64) bool {
	be := binary.BigEndian
	if !sealed(b, indexMagic, indexHeaderSize) ||
		int64(be.Uint64(b[8:])) != base || int64(be.Uint64(b[16:])) != size {
		return false
	}
	x.tail = tail{int64(be.Uint64(b[24:])), be.Uint32(b[32:])}
	n := int(be.Uint32(b[36:]))
	if len(b)-indexHeaderSize != n*indexEntrySize {
		return false
	}
	x.entries = make([]entry, n)
	for i := range x.entries {
		p := b[indexHeaderSize+i*indexEntrySize:]
		e := entry{offset: be.Uint32(p), pos: be.Uint32(p[4:])}
		if int64(e.pos) >= size || i > 0 && (e.pos <= x.entries[i-1].pos || e.offset <= x.entries[i-1].offset) {
			return false
		}
		x.entries[i] = e
	}
	if n > 0 {
		x.since = size - int64(x.entries[n-1].pos)
	}
	return (n > 0) == (size > 0)
}

// loadIndex reads the index files, or returns nil where they are missing or do
// not speak of the segment as it is: another size, another last batch.
func (l *Log) loadIndex(s *segment, f vfs.File) *index {
	x, size := newIndex(), s.size.Load()
	b, err := vfs.ReadFile(l.fs, s.indexName())
	if err != nil || !x.decode(b, s.base, size) {
		return nil
	}
	if b, err = vfs.ReadFile(l.fs, s.timeIndexName()); err != nil || !x.decodeTimes(b, s.base, size) {
		return nil
	}
	if !s.endsWith(f, x.tail, size) {
		return nil
	}
	return x
}

// writeIndex writes the index files. They are not fsynced: one that is torn is
// noticed and made again. Where there is no room they are left out.
func (l *Log) writeIndex(s *segment) error {
	x := s.index.Load()
	if x == nil {
		return nil
	}
	size := s.size.Load()
	x.mu.RLock()
	offsets, times, end := x.encode(s.base, size), x.encodeTimes(s.base, size), x.tail
	x.mu.RUnlock()
	err := errors.Join(l.writePlain(s.indexName(), offsets), l.writePlain(s.timeIndexName(), times))
	if t := s.txns.Load(); t != nil {
		err = errors.Join(err, l.writePlain(s.txnIndexName(), t.encode(s.base, size, end)))
	}
	return err
}

func (l *Log) writePlain(name string, b []byte) error {
	f, err := l.fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}

// removeIndex removes the index files of s.
func (l *Log) removeIndex(s *segment) error {
	return errors.Join(l.removeFile(s.indexName()), l.removeFile(s.timeIndexName()), l.removeFile(s.txnIndexName()))
}

// removeFile removes a file that need not be there.
func (l *Log) removeFile(name string) error {
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
