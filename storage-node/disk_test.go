package storagenode

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"moldau.dev/services/errcode"
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

// TestAProcessWithoutFilesHasNoDamagedDisk: what could not be opened is as it was,
// so its replica is not replaced, as one on a disk that fails is (N6).
func TestAProcessWithoutFilesHasNoDamagedDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC} {
		if got := storageError(&os.PathError{Op: "open", Path: "x", Err: errno}); got.Reason != errcode.DiskFull {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if got := storageError(&os.PathError{Op: "write", Path: "x", Err: syscall.EIO}); got.Reason != errcode.StorageError {
		t.Errorf("%v", got)
	}
}
