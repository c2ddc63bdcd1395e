package commitlog

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"sync"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Aborted is a transaction that ended in vain.
type Aborted struct {
	ProducerID int64
	First      int64 // offset of its first record
	Last       int64 // offset of its marker
}

// txnIndex knows the transactions of one segment: which ended in vain by a
// marker that lies in it, and which are open where it ends. On disk it is the
// file .txnindex. It is that of Kafka, but for the open transactions, which
// make an index follow from the segment and the index of the one before.
type txnIndex struct {
	mu      sync.Mutex
	aborted []Aborted       // by Last
	open    map[int64]int64 // first offset by producer
}

// after returns the index of an empty segment that follows t's; t is nil for
// the log's first.
func (t *txnIndex) after() *txnIndex {
	if t == nil {
		return &txnIndex{open: map[int64]int64{}}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return &txnIndex{open: maps.Clone(t.open)}
}

// note takes a batch in; m is its marker, or nil.
func (t *txnIndex) note(h *record.Header, m *record.Control) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, open := t.open[h.ProducerID]
	switch {
	case m == nil && !open:
		t.open[h.ProducerID] = h.BaseOffset
	case m != nil:
		delete(t.open, h.ProducerID)
		if open && m.Type == record.Abort {
			t.aborted = append(t.aborted, Aborted{h.ProducerID, first, h.BaseOffset})
		}
	}
}

// in appends the aborted transactions with offsets in [from, to) to dst, and
// tells whether one that begins before to is open where the segment ends.
func (t *txnIndex) in(from, to int64, dst []Aborted) ([]Aborted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.aborted, from, func(a Aborted, o int64) int { return cmp.Compare(a.Last, o) })
	for _, a := range t.aborted[i:] {
		if a.First < to {
			dst = append(dst, a)
		}
	}
	for _, first := range t.open {
		if first < to {
			return dst, true
		}
	}
	return dst, false
}

// noteTxn is note for a batch that is appended to s or read from it. Where the
// index of s is not known, it is made from the segment when it is needed.
func (s *segment) noteTxn(batch []byte, h *record.Header) {
	t := s.txns.Load()
	if t == nil || !h.Transactional() {
		return
	}
	if !h.Control() {
		t.note(h, nil)
	} else if m, err := record.ParseControl(batch); err == nil {
		t.note(h, &m)
	}
}

// txnsOf returns the index of a segment of the log: from memory, from its file,
// or made again from the segment and the index of the one before. The caller
// holds shape.
func (l *Log) txnsOf(s *segment) (*txnIndex, error) {
	if t := s.txns.Load(); t != nil {
		return t, nil
	}
	l.txnLoading.Lock()
	defer l.txnLoading.Unlock()
	t := l.loadTxns(s)
	if t != nil {
		return t, nil
	}
	segments := l.list()
	last := at(segments, s.base)
	first := last
	for ; first > 0 && t == nil; first-- {
		t = l.loadTxns(segments[first-1])
	}
	if t != nil {
		first++ // that one is known
	}
	for _, unknown := range segments[first : last+1] {
		var err error
		if t, err = l.rebuildTxns(unknown, t.after()); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// knowTxns makes the index of the segment that is appended to known, so that
// those of the segments after it are known as they grow. It has to look only
// once after the log was opened, or cut.
func (l *Log) knowTxns() error {
	if s := l.active(); s == nil || s.txns.Load() != nil {
		return nil
	}
	l.shape.RLock()
	defer l.shape.RUnlock()
	s := l.active()
	if s == nil {
		return nil
	}
	_, err := l.txnsOf(s)
	return err
}

// loadTxns returns the index of s if it is known, or its file holds it.
func (l *Log) loadTxns(s *segment) *txnIndex {
	if t := s.txns.Load(); t != nil {
		return t
	}
	size := s.size.Load()
	b, err := vfs.ReadFile(l.fs, s.txnIndexName())
	if err != nil {
		return nil
	}
	h, err := l.files.acquire(l.fs, s)
	if err != nil {
		return nil
	}
	defer l.files.release(h)
	t, end, ok := decodeTxns(b, s.base, size)
	if !ok || !s.endsWith(h.file, end, size) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.size.Load() != size {
		return nil
	}
	s.txns.Store(t)
	l.keepIndex(s)
	return t
}

// rebuildTxns makes the index of s, from t, which knows what is open where it
// begins. What is appended meanwhile is looked at last, with appends held up.
func (l *Log) rebuildTxns(s *segment, t *txnIndex) (*txnIndex, error) {
	f, err := l.files.acquire(l.fs, s)
	if err != nil {
		return nil, err
	}
	defer l.files.release(f)
	size := s.size.Load()
	if err := s.scanTxns(f.file, t, 0, size); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := s.scanTxns(f.file, t, size, s.size.Load()); err != nil {
		return nil, err
	}
	s.txns.Store(t)
	l.keepIndex(s)
	return t, nil
}

// scanTxns takes the batches of s in [pos, size) into t.
func (s *segment) scanTxns(f vfs.File, t *txnIndex, pos, size int64) error {
	var inner error
	err := s.eachHeader(f, pos, size, s.base, func(h *record.Header, at int64) bool {
		switch {
		case !h.Transactional():
		case !h.Control():
			t.note(h, nil)
		default:
			var m record.Control
			if m, inner = s.marker(f, h, at); inner == nil {
				t.note(h, &m)
			}
		}
		return inner == nil
	})
	if inner != nil {
		return inner
	}
	return err
}

// marker reads the marker at pos.
func (s *segment) marker(f vfs.File, h *record.Header, pos int64) (record.Control, error) {
	batch := make([]byte, h.Size())
	if err := s.readFull(f, batch, pos); err != nil {
		return record.Control{}, err
	}
	if _, err := record.Verify(batch); err != nil {
		return record.Control{}, s.corrupt(pos, "%v", err)
	}
	m, err := record.ParseControl(batch)
	if err != nil {
		return record.Control{}, s.corrupt(pos, "%v", err)
	}
	return m, nil
}

// aborted returns the aborted transactions with offsets in [from, to), each
// once, by first offset. All that begin before to must be decided. The caller
// holds shape.
func (l *Log) aborted(from, to int64) (found []Aborted, err error) {
	segments := l.list()
	for i := max(at(segments, from), 0); i < len(segments); i++ {
		t, err := l.txnsOf(segments[i])
		if err != nil {
			return nil, err
		}
		goesOn := false
		if found, goesOn = t.in(from, to, found); !goesOn && segments[i].end.Load() >= to {
			break
		}
	}
	slices.SortFunc(found, func(a, b Aborted) int { return cmp.Compare(a.First, b.First) })
	return found, nil
}

const (
	txnIndexMagic      = "MXX1"
	txnIndexHeaderSize = 4 + 4 + 8 + 8 + 8 + 4 + 4 + 4 // see FORMAT.md
	abortedSize        = 8 + 8 + 8
	openSize           = 8 + 8
)

// encode returns the .txnindex file of a segment of that base and size.
func (t *txnIndex) encode(base, size int64, tail tail) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	be := binary.BigEndian
	b := make([]byte, 0, txnIndexHeaderSize+abortedSize*len(t.aborted)+openSize*len(t.open))
	b = append(b, txnIndexMagic+"\x00\x00\x00\x00"...)
	b = be.AppendUint64(b, uint64(base))
	b = be.AppendUint64(b, uint64(size))
	b = be.AppendUint64(b, uint64(tail.pos))
	b = be.AppendUint32(b, tail.crc)
	b = be.AppendUint32(b, uint32(len(t.aborted)))
	b = be.AppendUint32(b, uint32(len(t.open)))
	for _, a := range t.aborted {
		b = be.AppendUint64(b, uint64(a.ProducerID))
		b = be.AppendUint64(b, uint64(a.First))
		b = be.AppendUint64(b, uint64(a.Last))
	}
	for _, pid := range slices.Sorted(maps.Keys(t.open)) {
		b = be.AppendUint64(b, uint64(pid))
		b = be.AppendUint64(b, uint64(t.open[pid]))
	}
	return sealFile(b)
}

// decodeTxns reads a .txnindex file that speaks of a segment of that base and
// size.
func decodeTxns(b []byte, base, size int64) (*txnIndex, tail, bool) {
	be := binary.BigEndian
	if !sealed(b, txnIndexMagic, txnIndexHeaderSize) ||
		int64(be.Uint64(b[8:])) != base || int64(be.Uint64(b[16:])) != size {
		return nil, tail{}, false
	}
	end := tail{pos: int64(be.Uint64(b[24:])), crc: be.Uint32(b[32:])}
	aborted, open := int(be.Uint32(b[36:])), int(be.Uint32(b[40:]))
	if b = b[txnIndexHeaderSize:]; len(b) != aborted*abortedSize+open*openSize {
		return nil, tail{}, false
	}
	t := &txnIndex{open: make(map[int64]int64, open)}
	last := int64(math.MinInt64)
	for range aborted {
		a := Aborted{int64(be.Uint64(b)), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:]))}
		if a.ProducerID < 0 || a.First < 0 || a.Last <= max(a.First, last) {
			return nil, tail{}, false
		}
		t.aborted, b, last = append(t.aborted, a), b[abortedSize:], a.Last
	}
	last = -1
	for range open {
		pid, first := int64(be.Uint64(b)), int64(be.Uint64(b[8:]))
		if pid <= last || first < 0 {
			return nil, tail{}, false
		}
		t.open[pid], b, last = first, b[openSize:], pid
	}
	return t, end, true
}
