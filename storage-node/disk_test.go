package storagenode

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"

	"moldau.dev/storage-node/vfs"
)

func newDisk() *vfs.Memory { return vfs.NewMemory() }

// failing is what a disk's log files fail at.
type failing struct{ sync, space atomic.Bool }

func (f *failing) rule(op vfs.Op) error {
	switch {
	case !strings.HasSuffix(op.Name, ".log"):
		return nil
	case op.Kind == vfs.OpSync && f.sync.Load():
		return errors.New("input/output error")
	case op.Kind == vfs.OpWrite && f.space.Load():
		return syscall.ENOSPC
	}
	return nil
}
