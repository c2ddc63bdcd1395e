package commitlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"

	"moldau.dev/storage-node/vfs"
)

// The hint says how far the log was durable, more exactly than the mark does:
// it is written after each Sync, and never fsynced itself. After a kill the
// page cache has the last one, so that damage to what was acknowledged is told
// from a torn tail; after a power loss there may be an older one, or one that
// its checksum tells. It counts only beside the checkpoint that it names, lest
// it speak of what was truncated since.
const (
	hintName = "durable"
	hintSize = 8 + 8 + 4 // checkpoint sequence, offset, CRC of both
)

// writeHint notes that the log is durable up to its mark; the caller holds
// admin. Where that fails, less is known after a kill.
func (l *Log) writeHint() {
	h, err := l.files.acquire(l.fs, l.hint)
	if errors.Is(err, fs.ErrNotExist) {
		var f vfs.File
		if f, err = l.fs.Create(l.hint.log); err == nil {
			h = l.files.insert(l.hint, f)
		}
	}
	if err != nil {
		return
	}
	defer l.files.release(h)
	b := l.hintBuf[:]
	binary.BigEndian.PutUint64(b, uint64(l.sequence.Load()))
	binary.BigEndian.PutUint64(b[8:], uint64(l.mark.offset))
	binary.BigEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	_, _ = h.file.WriteAt(b, 0)
}

// readHint returns the offset of the hint that belongs to the checkpoint, or 0.
func (l *Log) readHint() (int64, error) {
	b, err := vfs.ReadFile(l.fs, l.hint.log)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil || len(b) != hintSize || binary.BigEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return 0, err
	}
	if int64(binary.BigEndian.Uint64(b)) != l.sequence.Load() {
		return 0, nil
	}
	return int64(binary.BigEndian.Uint64(b[8:])), nil
}
