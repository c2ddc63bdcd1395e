package vfs

import "io"

// Op is what a Rule is asked about.
type Op struct {
	Kind   OpKind
	Name   string // the file's, or for a rename the new name
	Offset int64  // of a read or write, or the size to truncate to
	// Data was read, and may be changed in place, or is to be written.
	Data []byte
}

// OpKind is a kind of Op.
type OpKind uint8

// The kinds of Op.
const (
	OpOpen OpKind = iota + 1
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncDir
	OpRename
	OpRemove
)

// Rule decides over an operation: an error makes it fail. It may be called at
// once from many goroutines.
type Rule func(op Op) error

// Faulty is a tree that fails as its rule says. A failing write puts the first
// half of its bytes on the disk, as a full disk does.
func Faulty(fs FS, rule Rule) FS { return &faultyFS{fs, rule} }

type faultyFS struct {
	FS
	rule Rule
}

type faultyFile struct {
	File
	name string
	rule Rule
}

func (f *faultyFS) Open(name string) (File, error) { return f.open(OpOpen, name, f.FS.Open) }

func (f *faultyFS) Create(name string) (File, error) { return f.open(OpCreate, name, f.FS.Create) }

func (f *faultyFS) open(kind OpKind, name string, open func(string) (File, error)) (File, error) {
	if err := f.rule(Op{Kind: kind, Name: name}); err != nil {
		return nil, pathError("open", name, err)
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, name, f.rule}, nil
}

func (f *faultyFS) Remove(name string) error {
	if err := f.rule(Op{Kind: OpRemove, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	return f.FS.Remove(name)
}

func (f *faultyFS) Rename(from, to string) error {
	if err := f.rule(Op{Kind: OpRename, Name: to}); err != nil {
		return pathError("rename", to, err)
	}
	return f.FS.Rename(from, to)
}

func (f *faultyFS) SyncDir(dir string) error {
	if err := f.rule(Op{Kind: OpSyncDir, Name: dir}); err != nil {
		return pathError("fsync", dir, err)
	}
	return f.FS.SyncDir(dir)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	if bad := f.rule(Op{Kind: OpRead, Name: f.name, Offset: off, Data: p[:n]}); bad != nil {
		return 0, pathError("read", f.name, bad)
	}
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.rule(Op{Kind: OpWrite, Name: f.name, Offset: off, Data: p}); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, pathError("write", f.name, err)
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.rule(Op{Kind: OpTruncate, Name: f.name, Offset: size}); err != nil {
		return pathError("truncate", f.name, err)
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	if err := f.rule(Op{Kind: OpSync, Name: f.name}); err != nil {
		return pathError("fdatasync", f.name, err)
	}
	return f.File.Sync()
}
