package storagenode

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"

	"moldau.dev/storage-node/vfs"
)

// maxSmallFile bounds what readFile takes into memory.
const maxSmallFile = 256 << 20

// readFile reads a small file whole.
func readFile(disk vfs.FS, name string) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxSmallFile))
	return b, errors.Join(err, f.Close())
}

// writeFile replaces a small file: after a crash it is the old one or the new
// one (rule R16).
func writeFile(disk vfs.FS, name string, b []byte) error {
	tmp := name + ".tmp"
	if err := writeNew(disk, tmp, b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := disk.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return disk.SyncDir(path.Dir(name))
}

func writeNew(disk vfs.FS, name string, b []byte) error {
	f, err := disk.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// writePlain writes a file that a power loss may take.
func writePlain(disk vfs.FS, name string, b []byte) error {
	f, err := disk.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}

// removeDir removes a directory and all in it, durably.
func removeDir(disk vfs.FS, dir string) error {
	if err := disk.RemoveAll(dir); err != nil {
		return err
	}
	return disk.SyncDir(path.Dir(dir))
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isDiskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

func isOutOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
