// Package vfs is the storage node's only way to the disk. Above it are the
// commit log and the node's own files; below it the operating system, or a
// twin of it in memory that can lose power.
//
// The invariant to remember: nothing is durable before it is asked for. Bytes
// are durable after File.Sync; a new, renamed or removed name is durable after
// SyncDir of its directory (rule R16).
package vfs

import (
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// FS is a tree of files. Names are slash-separated paths. All methods may be
// called at once. Errors wrap the operating system's: test them with errors.Is
// against fs.ErrNotExist, syscall.ENOSPC and so on.
type FS interface {
	// Open opens a file that is there, to be read and, where its mode allows,
	// written.
	Open(name string) (File, error)
	// Create opens name to be read and written, empty, whether it was there or
	// not. New files have mode 0600.
	Create(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes name and all below it. It is no error if there is none.
	RemoveAll(name string) error
	// Rename gives a file another name, atomically, and replaces what had it.
	// Sync the file first.
	Rename(from, to string) error
	// MkdirAll makes dir and its parents, with mode 0700. The new names are not
	// durable yet.
	MkdirAll(dir string) error
	// List returns the sorted names in dir, files and directories.
	List(dir string) ([]string, error)
	// Stat describes a file or a directory.
	Stat(name string) (Info, error)
	// SyncDir makes durable which names dir holds.
	SyncDir(dir string) error
	// Lock makes the file name, if need be, and holds it until closed or the
	// process ends. It fails at once when another holds it.
	Lock(name string) (io.Closer, error)
}

// Info describes a file or directory.
type Info struct {
	Size    int64 // bytes; of no meaning for a directory
	ModTime time.Time
	Dir     bool
}

// File is an open file. All methods but Close may be called at once.
type File interface {
	io.ReaderAt
	// WriterAt writes the whole slice, or fails; after a failure any part of it
	// may have been written.
	io.WriterAt
	io.Closer
	// Sync makes the bytes and the size durable (fdatasync). After it failed
	// nobody knows what the disk holds: do not call it again (rule N7).
	Sync() error
	// Truncate makes the file size bytes long, zeros if it was shorter.
	Truncate(size int64) error
	// Size in bytes.
	Size() (int64, error)
	// Fd is the descriptor, for sendfile, where there is one. It is valid until
	// Close.
	Fd() (fd uintptr, ok bool)
}

// ReadFile returns the bytes of the file name.
func ReadFile(fs FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := readAll(f)
	return b, errors.Join(err, f.Close())
}

func readAll(f File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	// More than the size finds the end; special files say size 0.
	b, n := make([]byte, max(size+1, 512)), 0
	for {
		got, err := f.ReadAt(b[n:], int64(n))
		n += got
		if err == io.EOF {
			return b[:n], nil
		}
		if err != nil {
			return nil, err
		}
		if n == len(b) {
			b = append(b, make([]byte, len(b))...)
		}
	}
}

// WriteFile makes b the bytes of the file name, durably and atomically: after
// a crash the file holds b or what it held before. It writes name.tmp first
// (rule R16). Calls for the same name must not overlap.
func WriteFile(fs FS, name string, b []byte) error {
	if err := writeSynced(fs, name+".tmp", b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

func writeSynced(fs FS, name string, b []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
