package commitlog

import (
	"encoding/binary"
	"hash/crc32"
	"path"
)

// The mark file says how far the log was durable: an offset and its CRC. It is
// written after each Sync and never synced itself. After a kill the page cache
// still has the newest; after a power cut an older one, or a torn one that its
// CRC tells, and then the state file's mark counts. It never says too much.
const markFile = "log.mark"

const markSize = 8 + 4

// writeMark notes that everything before end is durable. A mark that cannot be
// written is only less known at the next start.
func (l *Log) writeMark(end int64) {
	name := path.Join(l.dir, markFile)
	f, release, err := l.files.open(l.fs, name)
	if isNotExist(err) {
		created, err := l.fs.Create(name)
		if err != nil || created.Close() != nil {
			return
		}
		f, release, err = l.files.open(l.fs, name)
		if err != nil {
			return
		}
	} else if err != nil {
		return
	}
	defer release()
	var b [markSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(end))
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	_, _ = f.WriteAt(b[:], 0)
}

// readMark returns the mark, or known where that is further.
func (l *Log) readMark(known int64) (int64, error) {
	b, err := readFile(l.fs, path.Join(l.dir, markFile))
	if err != nil || len(b) < markSize || binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli) {
		return known, err
	}
	return max(known, int64(binary.BigEndian.Uint64(b))), nil
}
