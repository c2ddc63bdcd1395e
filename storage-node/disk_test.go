package storagenode

import (
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"

	"moldau.dev/storage-node/vfs"
)

func newDisk() *vfs.Memory { return vfs.NewMemory() }

// failing is a disk that fails on demand: its log files alone, or, once the
// power is off, all of it.
type failing struct {
	vfs.FS
	noSync, noSpace atomic.Bool
	// off is the number of the change to the disk that no longer happens, nor
	// does any after it; 0 is never.
	off   int64
	steps atomic.Int64
}

var errOff = errors.New("the power is off")

func (d *failing) step() error {
	if n := d.steps.Add(1); d.off > 0 && n >= d.off {
		return errOff
	}
	return nil
}

func (d *failing) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return d.wrap(f, name, err)
}

func (d *failing) Create(name string) (vfs.File, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.FS.Create(name)
	return d.wrap(f, name, err)
}

func (d *failing) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *failing) Remove(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *failing) SyncDir(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.FS.SyncDir(dir)
}

func (d *failing) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &failingFile{File: f, disk: d, log: strings.HasSuffix(name, ".log")}, nil
}

type failingFile struct {
	vfs.File
	disk *failing
	log  bool
}

func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if f.log && f.disk.noSpace.Load() {
		n, _ := f.File.WriteAt(p[:len(p)/2], off) // as a disk does that fills up on the way
		return n, &fs.PathError{Op: "write", Path: "log", Err: syscall.ENOSPC}
	}
	if err := f.disk.step(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *failingFile) Truncate(size int64) error {
	if err := f.disk.step(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *failingFile) Sync() error {
	if f.log && f.disk.noSync.Load() {
		return errors.New("input/output error")
	}
	if err := f.disk.step(); err != nil {
		return err
	}
	return f.File.Sync()
}
