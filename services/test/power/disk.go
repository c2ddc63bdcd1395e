//go:build power

package power

import (
	"context"
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"moldau.dev/storage-node/vfs"
)

// Disk is a mounted folder whose content a power cut reduces to what was synced,
// and some of the rest.
type Disk struct {
	dir    string // where it is mounted
	memory *vfs.Memory
	server *fuse.Server
}

// NewDisk mounts an empty disk until the test ends. Stop who uses it before.
func NewDisk(t testing.TB) *Disk {
	t.Helper()
	d := &Disk{dir: t.TempDir(), memory: vfs.NewMemory()}
	d.mount(t)
	t.Cleanup(func() { d.unmount(t) })
	return d
}

func (d *Disk) mount(t testing.TB) {
	t.Helper()
	forgetful := time.Duration(0) // the kernel asks anew each time
	server, err := fs.Mount(d.dir, &entry{disk: d}, &fs.Options{
		EntryTimeout: &forgetful, AttrTimeout: &forgetful, NegativeTimeout: &forgetful,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "power", MaxWrite: 1 << 20},
	})
	if err != nil {
		t.Fatalf("mount a disk, which needs root: %v", err)
	}
	d.server = server
}

func (d *Disk) unmount(t testing.TB) {
	t.Helper()
	if err := d.server.Unmount(); err != nil {
		t.Errorf("unmount a disk: %v", err)
	}
}

// Dir is where the disk is mounted.
func (d *Disk) Dir() string { return d.dir }

// Cut takes the power away and brings it back. Nobody may have files open.
func (d *Disk) Cut(t testing.TB, rng *rand.Rand) {
	t.Helper()
	d.unmount(t)
	d.memory.PowerLoss(rng)
	d.mount(t)
}

// entry is a file or a folder, by its path.
type entry struct {
	fs.Inode
	disk *Disk
}

var (
	_ fs.NodeLookuper  = (*entry)(nil)
	_ fs.NodeGetattrer = (*entry)(nil)
	_ fs.NodeSetattrer = (*entry)(nil)
	_ fs.NodeOpener    = (*entry)(nil)
	_ fs.NodeCreater   = (*entry)(nil)
	_ fs.NodeMkdirer   = (*entry)(nil)
	_ fs.NodeUnlinker  = (*entry)(nil)
	_ fs.NodeRmdirer   = (*entry)(nil)
	_ fs.NodeRenamer   = (*entry)(nil)
	_ fs.NodeReaddirer = (*entry)(nil)
	_ fs.NodeFsyncer   = (*entry)(nil)
)

func (e *entry) at() string { return "/" + e.Path(nil) }

func (e *entry) child(name string) string { return path.Join(e.at(), name) }

// errnoOf is what the kernel is told.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, iofs.ErrNotExist):
		return syscall.ENOENT
	case errors.As(err, &errno):
		return errno
	default:
		return syscall.EIO
	}
}

func modeOf(dir bool) uint32 {
	if dir {
		return syscall.S_IFDIR | 0o700
	}
	return syscall.S_IFREG | 0o600
}

func describe(info vfs.Info, out *fuse.Attr) {
	out.Mode, out.Size = modeOf(info.Dir), uint64(info.Size)
}

func (e *entry) inode(ctx context.Context, dir bool) *fs.Inode {
	return e.NewInode(ctx, &entry{disk: e.disk}, fs.StableAttr{Mode: modeOf(dir) & syscall.S_IFMT})
}

// Lookup implements fs.NodeLookuper.
func (e *entry) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	info, err := e.disk.memory.Stat(e.child(name))
	if err != nil {
		return nil, errnoOf(err)
	}
	describe(info, &out.Attr)
	if known := e.GetChild(name); known != nil && known.IsDir() == info.Dir {
		return known, 0
	}
	return e.inode(ctx, info.Dir), 0
}

// Getattr implements fs.NodeGetattrer.
func (e *entry) Getattr(_ context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := h.(*handle); ok { // which may have no name any more
		size, err := f.file.Size()
		describe(vfs.Info{Size: size}, &out.Attr)
		return errnoOf(err)
	}
	info, err := e.disk.memory.Stat(e.at())
	describe(info, &out.Attr)
	return errnoOf(err)
}

// Setattr implements fs.NodeSetattrer. Only sizes are kept.
func (e *entry) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f, opened := h.(*handle)
		if !opened {
			file, err := e.disk.memory.Open(e.at())
			if err != nil {
				return errnoOf(err)
			}
			f = &handle{file}
		}
		if err := f.file.Truncate(int64(size)); err != nil {
			return errnoOf(err)
		}
	}
	return e.Getattr(ctx, h, out)
}

// Open implements fs.NodeOpener. The kernel keeps no bytes of its own.
func (e *entry) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := e.disk.memory.Open(e.at())
	if err != nil {
		return nil, 0, errnoOf(err)
	}
	if flags&syscall.O_TRUNC != 0 {
		err = f.Truncate(0)
	}
	return &handle{f}, fuse.FOPEN_DIRECT_IO, errnoOf(err)
}

// Create implements fs.NodeCreater.
func (e *entry) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f, err := e.disk.memory.Create(e.child(name))
	if err != nil {
		return nil, nil, 0, errnoOf(err)
	}
	describe(vfs.Info{}, &out.Attr)
	return e.inode(ctx, false), &handle{f}, fuse.FOPEN_DIRECT_IO, 0
}

// Mkdir implements fs.NodeMkdirer.
func (e *entry) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if err := e.disk.memory.MkdirAll(e.child(name)); err != nil {
		return nil, errnoOf(err)
	}
	describe(vfs.Info{Dir: true}, &out.Attr)
	return e.inode(ctx, true), 0
}

// Unlink implements fs.NodeUnlinker.
func (e *entry) Unlink(_ context.Context, name string) syscall.Errno {
	return errnoOf(e.disk.memory.Remove(e.child(name)))
}

// Rmdir implements fs.NodeRmdirer.
func (e *entry) Rmdir(_ context.Context, name string) syscall.Errno {
	return errnoOf(e.disk.memory.Remove(e.child(name)))
}

// Rename implements fs.NodeRenamer.
func (e *entry) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, _ uint32) syscall.Errno {
	parent := "/" + to.EmbeddedInode().Path(nil)
	return errnoOf(e.disk.memory.Rename(e.child(name), path.Join(parent, newName)))
}

// Readdir implements fs.NodeReaddirer.
func (e *entry) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	names, err := e.disk.memory.List(e.at())
	if err != nil {
		return nil, errnoOf(err)
	}
	var list []fuse.DirEntry
	for _, name := range names {
		if info, err := e.disk.memory.Stat(e.child(name)); err == nil {
			list = append(list, fuse.DirEntry{Name: name, Mode: modeOf(info.Dir)})
		}
	}
	return fs.NewListDirStream(list), 0
}

// Fsync implements fs.NodeFsyncer, for files and for folders.
func (e *entry) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	if f, ok := h.(*handle); ok {
		return errnoOf(f.file.Sync())
	}
	return errnoOf(e.disk.memory.SyncDir(e.at()))
}

// handle is an open file.
type handle struct{ file vfs.File }

var (
	_ fs.FileReader   = (*handle)(nil)
	_ fs.FileWriter   = (*handle)(nil)
	_ fs.FileReleaser = (*handle)(nil)
)

// Read implements fs.FileReader.
func (h *handle) Read(_ context.Context, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, _ := h.file.ReadAt(b, off) // short at the end
	return fuse.ReadResultData(b[:n]), 0
}

// Write implements fs.FileWriter.
func (h *handle) Write(_ context.Context, b []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.file.WriteAt(b, off)
	return uint32(n), errnoOf(err)
}

// Release implements fs.FileReleaser.
func (h *handle) Release(context.Context) syscall.Errno { return errnoOf(h.file.Close()) }
