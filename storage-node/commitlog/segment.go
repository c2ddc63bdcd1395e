package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"
	"sort"
	"sync"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// segment is one file of whole batches, first offset in its name.
type segment struct {
	base int64
	file string // path without extension

	mu      sync.RWMutex // guards what follows
	end     int64        // offset after the last record
	size    int64        // bytes of whole batches
	index   []entry      // sparse, by offset; nil until loaded
	loaded  bool
	maxTime int64 // largest timestamp, -1 for none
	maxAt   int64 // base offset of the batch that holds it
	born    int64 // ms when the first batch came, 0 unknown
	sinceIx int64 // bytes since the last index entry
}

// entry says that a batch begins here, and the largest timestamp before it.
type entry struct {
	offset int64
	pos    int64
	time   int64
}

func segmentName(dir string, base int64) string { return path.Join(dir, fmt.Sprintf("%020d", base)) }

func (s *segment) log() string { return s.file + ".log" }
func (s *segment) idx() string { return s.file + ".index" }

// note takes a batch at pos into the segment's facts.
func (s *segment) note(h record.Header, pos int64, interval int64) {
	if len(s.index) == 0 || s.sinceIx >= interval {
		s.index = append(s.index, entry{h.BaseOffset, pos, s.maxTime})
		s.sinceIx = 0
	}
	s.sinceIx += int64(h.Size())
	if h.MaxTimestamp > s.maxTime {
		s.maxTime, s.maxAt = h.MaxTimestamp, h.BaseOffset
	}
	s.end, s.size = h.NextOffset(), pos+int64(h.Size())
}

// floor returns the last indexed position at or before offset.
func (s *segment) floor(offset int64) int64 {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].offset > offset })
	if i == 0 {
		return 0
	}
	return s.index[i-1].pos
}

// floorTime returns the last indexed position before which every timestamp is
// smaller than t.
func (s *segment) floorTime(t int64) int64 {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].time >= t })
	if i == 0 {
		return 0
	}
	return s.index[i-1].pos
}

const indexHeader = 4 + 4 + 8*5

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeIndex is the index file: see FORMAT.md.
func (s *segment) encodeIndex() []byte {
	b := make([]byte, 0, indexHeader+24*len(s.index))
	b = append(b, "MIX1\x00\x00\x00\x00"...)
	for _, v := range []int64{s.end, s.size, s.maxTime, s.maxAt, int64(len(s.index))} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	for _, e := range s.index {
		b = binary.BigEndian.AppendUint64(b, uint64(e.offset))
		b = binary.BigEndian.AppendUint64(b, uint64(e.pos))
		b = binary.BigEndian.AppendUint64(b, uint64(e.time))
	}
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// indexedSize is the size of the segment that the index file b was made of, or
// -1 where the file does not hold.
func indexedSize(b []byte) int64 {
	if len(b) < indexHeader || string(b[:4]) != "MIX1" || binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return -1
	}
	return int64(binary.BigEndian.Uint64(b[16:]))
}

func (s *segment) decodeIndex(b []byte, fileSize int64) bool {
	if indexedSize(b) < 0 {
		return false
	}
	v := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8+8*i:])) }
	n := v(4)
	if n < 0 || int64(len(b)-indexHeader) != 24*n || v(1) != fileSize {
		return false
	}
	s.end, s.size, s.maxTime, s.maxAt = v(0), v(1), v(2), v(3)
	s.index = make([]entry, n)
	for i := range s.index {
		p := 5 + 3*i
		s.index[i] = entry{v(p), v(p + 1), v(p + 2)}
	}
	return true
}

// scan walks the batches of f from pos on and calls fn for each header. With
// verify it demands checksums, and offsets without a gap: for a segment that
// was never compacted. It stops at the first that does not hold and
// returns where and why.
func scan(f vfs.File, pos, size int64, next int64, verify bool, fn func(h record.Header, pos int64)) (int64, error) {
	var head [record.HeaderSize]byte
	var buf []byte
	for pos < size {
		if size-pos < record.HeaderSize {
			return pos, fmt.Errorf("%d bytes are no header", size-pos)
		}
		if _, err := f.ReadAt(head[:], pos); err != nil {
			return pos, err
		}
		h, err := record.ParseHeader(head[:])
		if err != nil {
			return pos, err
		}
		if h.BaseOffset < next || (verify && h.BaseOffset != next) {
			return pos, fmt.Errorf("offset %d where %d comes next", h.BaseOffset, next)
		}
		if int64(h.Size()) > size-pos {
			return pos, fmt.Errorf("batch of %d bytes, %d are left", h.Size(), size-pos)
		}
		if verify {
			if cap(buf) < h.Size() {
				buf = make([]byte, h.Size())
			}
			buf = buf[:h.Size()]
			if _, err := f.ReadAt(buf, pos); err != nil {
				return pos, err
			}
			if _, err := record.Verify(buf); err != nil {
				return pos, err
			}
		}
		fn(h, pos)
		next, pos = h.NextOffset(), pos+int64(h.Size())
	}
	return pos, nil
}
