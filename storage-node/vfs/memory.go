package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrCrashed is what everything answers between a crash and PowerLoss.
var ErrCrashed = errors.New("vfs: the machine has crashed")

// Memory is a tree in memory that keeps apart what is durable and what a power
// loss may take. Use it through NewMemory.
type Memory struct {
	mu      sync.Mutex
	entries map[string]*inode // as the running machine sees them
	durable map[string]*inode // as of the last SyncDir of each directory
	pending []dirOp           // names changed since, in order
	locks   map[string]bool

	boot    int // counts power losses; handles of an earlier boot are dead
	steps   int // writes of any kind so far
	crashAt int // the step that crashes; 0 for none
	crashed bool
}

type inode struct {
	dir     bool
	data    []byte
	durable []byte
	pending []dataOp // since the last Sync, in order
}

// dataOp is a write of data at off, or a truncation to off.
type dataOp struct {
	off  int64
	data []byte
	trim bool
}

// dirOp is a name that came (from empty), went (to empty) or moved. It happens
// as a whole or not at all.
type dirOp struct {
	from, to string
	node     *inode
}

// sector is the unit in which a torn write reaches the disk.
const sector = 512

// NewMemory returns an empty tree. The root and "." are there.
func NewMemory() *Memory {
	m := &Memory{entries: map[string]*inode{}, durable: map[string]*inode{}, locks: map[string]bool{}}
	for _, root := range []string{"/", "."} {
		m.entries[root] = &inode{dir: true}
		m.durable[root] = m.entries[root]
	}
	return m
}

// Steps counts the writes of any kind so far: of bytes, sizes and names, and
// syncs.
func (m *Memory) Steps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.steps
}

// CrashAtStep makes the write of that number, counted as in Steps, the last
// one: it may or may not reach the disk, and fails like all after it with
// ErrCrashed until PowerLoss. 0 is never.
func (m *Memory) CrashAtStep(step int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashAt = step
}

// PowerLoss turns the machine off and on. What was not synced is kept, dropped
// or torn, write by write and name by name, as rng has it. Open files are dead.
func (m *Memory) PowerLoss(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range m.pending {
		if rng.IntN(2) == 0 {
			op.apply(m.durable)
		}
	}
	m.pending, m.entries = nil, map[string]*inode{}
	for _, name := range sortedKeys(m.durable) {
		parent := m.entries[path.Dir(name)]
		if name != path.Dir(name) && (parent == nil || !parent.dir) {
			delete(m.durable, name)
			continue
		}
		m.durable[name].lose(rng)
		m.entries[name] = m.durable[name]
	}
	clear(m.locks)
	m.boot++
	m.crashAt, m.crashed = 0, false
}

// sortedKeys has parents before what is in them.
func sortedKeys(entries map[string]*inode) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (op dirOp) apply(entries map[string]*inode) {
	if op.from != "" {
		delete(entries, op.from)
	}
	if op.to != "" {
		entries[op.to] = op.node
	}
}

// lose makes what the disk happens to hold the file's content.
func (n *inode) lose(rng *rand.Rand) {
	for _, op := range n.pending {
		switch rng.IntN(3) {
		case 0: // dropped
		case 1:
			n.durable = op.apply(n.durable)
		case 2:
			for _, part := range op.tear(rng) {
				n.durable = part.apply(n.durable)
			}
		}
	}
	n.pending = nil
	n.data = slices.Clone(n.durable)
}

// tear returns the sectors of a write that reach the disk.
func (op dataOp) tear(rng *rand.Rand) []dataOp {
	if op.trim {
		return nil
	}
	var parts []dataOp
	for at := 0; at < len(op.data); {
		end := min(at+sector-int((op.off+int64(at))%sector), len(op.data))
		if rng.IntN(2) == 0 {
			parts = append(parts, dataOp{off: op.off + int64(at), data: op.data[at:end]})
		}
		at = end
	}
	return parts
}

func (op dataOp) apply(b []byte) []byte {
	if op.trim {
		return resize(b, op.off)
	}
	if end := op.off + int64(len(op.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[op.off:], op.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	old := len(b)
	b = slices.Grow(b, int(size)-old)[:size]
	clear(b[old:])
	return b
}

// step counts one write and tells whether the machine is up before it and
// after it; the caller holds mu.
func (m *Memory) step() (before, after error) {
	if m.crashed {
		return ErrCrashed, ErrCrashed
	}
	m.steps++
	if m.steps == m.crashAt {
		m.crashed = true
		return nil, ErrCrashed
	}
	return nil, nil
}

func (m *Memory) change(op dirOp) {
	op.apply(m.entries)
	m.pending = append(m.pending, op)
}

func pathError(op, name string, err error) error {
	return &os.PathError{Op: op, Path: name, Err: err}
}

// Open implements FS.
func (m *Memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open(path.Clean(name), false)
}

// Create implements FS.
func (m *Memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.open(path.Clean(name), true)
	if err != nil {
		return nil, err
	}
	if len(f.node.data) > 0 {
		if err := f.change(dataOp{trim: true}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// open opens name, and makes it if told to; the caller holds mu.
func (m *Memory) open(name string, create bool) (*memFile, error) {
	if m.crashed {
		return nil, ErrCrashed
	}
	node := m.entries[name]
	switch {
	case node == nil && !create:
		return nil, pathError("open", name, fs.ErrNotExist)
	case node == nil:
		var err error
		if node, err = m.create(name); err != nil {
			return nil, err
		}
	case node.dir:
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return &memFile{fs: m, node: node, name: name, boot: m.boot}, nil
}

func (m *Memory) create(name string) (*inode, error) {
	if err := m.isDir(path.Dir(name)); err != nil {
		return nil, err
	}
	before, after := m.step()
	if before != nil {
		return nil, before
	}
	node := &inode{}
	m.change(dirOp{to: name, node: node})
	return node, after
}

func (m *Memory) isDir(name string) error {
	node := m.entries[name]
	if node == nil {
		return pathError("open", name, fs.ErrNotExist)
	}
	if !node.dir {
		return pathError("open", name, syscall.ENOTDIR)
	}
	return nil
}

func (m *Memory) children(dir string) []string {
	names := []string{}
	for name := range m.entries {
		if path.Dir(name) == dir && name != dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

// Remove implements FS.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.crashed {
		return ErrCrashed
	}
	node := m.entries[name]
	if node == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if node.dir && len(m.children(name)) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	before, after := m.step()
	if before != nil {
		return before
	}
	m.change(dirOp{from: name})
	return after
}

// RemoveAll implements FS.
func (m *Memory) RemoveAll(name string) error {
	info, err := m.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Dir:
		return m.Remove(name)
	}
	names, err := m.List(name)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := m.RemoveAll(path.Join(name, child)); err != nil {
			return err
		}
	}
	return m.Remove(name)
}

// Rename implements FS.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	if m.crashed {
		return ErrCrashed
	}
	node := m.entries[from]
	if node == nil {
		return pathError("rename", from, fs.ErrNotExist)
	}
	if node.dir {
		return pathError("rename", from, syscall.EISDIR)
	}
	if err := m.isDir(path.Dir(to)); err != nil {
		return err
	}
	before, after := m.step()
	if before != nil {
		return before
	}
	m.change(dirOp{from: from, to: to, node: node})
	return after
}

// MkdirAll implements FS.
func (m *Memory) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mkdirAll(path.Clean(dir))
}

func (m *Memory) mkdirAll(dir string) error {
	if m.crashed {
		return ErrCrashed
	}
	if node := m.entries[dir]; node != nil {
		return m.isDir(dir)
	}
	if err := m.mkdirAll(path.Dir(dir)); err != nil {
		return err
	}
	before, after := m.step()
	if before != nil {
		return before
	}
	m.change(dirOp{to: dir, node: &inode{dir: true}})
	return after
}

// List implements FS.
func (m *Memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if m.crashed {
		return nil, ErrCrashed
	}
	if err := m.isDir(dir); err != nil {
		return nil, err
	}
	return m.children(dir), nil
}

// Stat implements FS. The time is the zero time: Memory has no clock.
func (m *Memory) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.crashed {
		return Info{}, ErrCrashed
	}
	node := m.entries[name]
	if node == nil {
		return Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	return Info{Size: int64(len(node.data)), ModTime: time.Time{}, Dir: node.dir}, nil
}

// SyncDir implements FS.
func (m *Memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if m.crashed {
		return ErrCrashed
	}
	if err := m.isDir(dir); err != nil {
		return err
	}
	if before, after := m.step(); before != nil || after != nil {
		return errors.Join(before, after)
	}
	kept := m.pending[:0]
	for _, op := range m.pending {
		if op.from != "" && path.Dir(op.from) == dir || op.to != "" && path.Dir(op.to) == dir {
			op.apply(m.durable)
			continue
		}
		kept = append(kept, op)
	}
	m.pending = kept
	return nil
}

// Lock implements FS.
func (m *Memory) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	f, err := m.open(name, true)
	if err != nil {
		return nil, err
	}
	if m.locks[name] {
		return nil, pathError("lock", name, syscall.EWOULDBLOCK)
	}
	m.locks[name] = true
	return &memLock{f}, nil
}

type memLock struct{ *memFile }

func (l *memLock) Close() error {
	err := l.memFile.Close()
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.boot == l.fs.boot {
		delete(l.fs.locks, l.name)
	}
	return err
}

type memFile struct {
	fs     *Memory
	node   *inode
	name   string
	boot   int
	closed bool
}

// usable tells whether the handle still stands; the caller holds fs.mu.
func (f *memFile) usable(op string) error {
	switch {
	case f.fs.crashed || f.boot != f.fs.boot:
		return ErrCrashed
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// change applies op to an open file; the caller holds fs.mu.
func (f *memFile) change(op dataOp) error {
	before, after := f.fs.step()
	if before != nil {
		return before
	}
	f.node.data = op.apply(f.node.data)
	f.node.pending = append(f.node.pending, op)
	return after
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("write"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	if err := f.change(dataOp{off: off, data: slices.Clone(p)}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("truncate"); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	return f.change(dataOp{off: size, trim: true})
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("sync"); err != nil {
		return err
	}
	if before, after := f.fs.step(); before != nil || after != nil {
		return errors.Join(before, after)
	}
	for _, op := range f.node.pending {
		f.node.durable = op.apply(f.node.durable)
	}
	f.node.pending = nil
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), f.usable("stat")
}

func (f *memFile) Fd() (uintptr, bool) { return 0, false }

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.boot == f.fs.boot && f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
