package commitlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path"

	"moldau.dev/storage-node/vfs"
)

// The state file holds what the segments do not say: where the log starts,
// how far it was durable, whether it was closed in order, and its epochs.
const (
	stateFile = "log.state"
	stateSize = 4 + 4 + 8*3 + 4
)

type state struct {
	start, durable int64
	clean          bool
	epochs         epochs
}

// saveState replaces the state file: written beside, synced, renamed, and the
// directory synced (rule R16).
func (l *Log) saveState(clean bool) error {
	st := state{l.start.Load(), l.durable.Load(), clean, l.epochs}
	return writeFile(l.fs, path.Join(l.dir, stateFile), st.encode())
}

func (s state) encode() []byte {
	b := append(make([]byte, 0, stateSize+12*len(s.epochs)), "MLS1\x00\x00\x00\x00"...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.start))
	b = binary.BigEndian.AppendUint64(b, uint64(s.durable))
	var flags uint64
	if s.clean {
		flags = 1
	}
	b = binary.BigEndian.AppendUint64(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.epochs)))
	for _, e := range s.epochs {
		b = binary.BigEndian.AppendUint32(b, uint32(e.epoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.start))
	}
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// decodeState reads a state file; ok is false where it does not hold.
func decodeState(b []byte) (s state, ok bool) {
	if len(b) < stateSize || string(b[:4]) != "MLS1" || binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return state{}, false
	}
	s.start = int64(binary.BigEndian.Uint64(b[8:]))
	s.durable = int64(binary.BigEndian.Uint64(b[16:]))
	s.clean = binary.BigEndian.Uint64(b[24:])&1 != 0
	n := int(binary.BigEndian.Uint32(b[32:]))
	if len(b)-stateSize != 12*n || s.start < 0 || s.durable < 0 {
		return state{}, false
	}
	for i := range n {
		p := b[stateSize+12*i:]
		s.epochs = append(s.epochs, epochStart{int32(binary.BigEndian.Uint32(p)), int64(binary.BigEndian.Uint64(p[4:]))})
	}
	return s, true
}

// writeFile replaces a small file whole and durably.
func writeFile(fsys vfs.FS, name string, b []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// readFile reads a small file whole; nil where there is none.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	return b, err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
