package storagenode

import (
	"errors"
	"io/fs"
	"path"
	"syscall"

	"moldau.dev/storage-node/vfs"
)

// removeDir removes a directory and all in it, durably.
func removeDir(disk vfs.FS, dir string) error {
	if err := vfs.RemoveAll(disk, dir); err != nil {
		return err
	}
	return disk.SyncDir(path.Dir(dir))
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isDiskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
