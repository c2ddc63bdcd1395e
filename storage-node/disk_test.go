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

// failing is a disk whose log files fail on demand. It counts what a power
// loss may come between.
type failing struct {
	vfs.FS
	noSync, noSpace atomic.Bool
	steps           atomic.Int64
	atStep          func(n int64)
}

func (d *failing) step() {
	n := d.steps.Add(1)
	if d.atStep != nil {
		d.atStep(n)
	}
}

func (d *failing) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return d.wrap(f, name, err)
}

func (d *failing) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return d.wrap(f, name, err)
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
	f.disk.step()
	return f.File.WriteAt(p, off)
}

func (f *failingFile) Sync() error {
	if f.log && f.disk.noSync.Load() {
		return errors.New("input/output error")
	}
	f.disk.step()
	return f.File.Sync()
}
