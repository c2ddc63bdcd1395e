package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"syscall"
	"testing"
)

// each runs one suite over every tree, in an empty directory.
func each(t *testing.T, suite func(t *testing.T, tree FS, dir string)) {
	t.Run("os", func(t *testing.T) { suite(t, OS{}, t.TempDir()) })
	t.Run("memory", func(t *testing.T) {
		m := NewMemory()
		must(t, m.MkdirAll("/d"))
		suite(t, m, "/d")
	})
	t.Run("faultless", func(t *testing.T) {
		m := NewMemory()
		must(t, m.MkdirAll("/d"))
		suite(t, Faulty(m, func(Op) error { return nil }), "/d")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, tree FS, name, s string) {
	t.Helper()
	f, err := tree.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(s), 0)
	must(t, err)
	must(t, f.Close())
}

func content(t *testing.T, tree FS, name string) string {
	t.Helper()
	b, err := ReadFile(tree, name)
	must(t, err)
	return string(b)
}

func TestFilesReadBackWhatWasWritten(t *testing.T) {
	each(t, func(t *testing.T, tree FS, dir string) {
		f, err := tree.Create(path.Join(dir, "a"))
		must(t, err)
		_, err = f.WriteAt([]byte("hello"), 3)
		must(t, err)
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, 0); n != 8 || err != io.EOF || string(b[:n]) != "\x00\x00\x00hello" {
			t.Errorf("read %q, %v", b[:n], err)
		}
		if n, err := f.ReadAt(b[:2], 6); n != 2 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if n, err := f.ReadAt(b, 8); n != 0 || err != io.EOF {
			t.Errorf("read at the end %d, %v", n, err)
		}
		must(t, f.Truncate(5))
		must(t, f.Truncate(7))
		must(t, f.Sync())
		if size, err := f.Size(); size != 7 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
		must(t, f.Close())
		if got := content(t, tree, path.Join(dir, "a")); got != "\x00\x00\x00he\x00\x00" {
			t.Errorf("content %q", got)
		}
		if _, err := f.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("read of a closed file: %v", err)
		}
	})
}

func TestNamesComeGoAndMove(t *testing.T) {
	each(t, func(t *testing.T, tree FS, dir string) {
		a, b, sub := path.Join(dir, "a"), path.Join(dir, "b"), path.Join(dir, "sub", "deep")
		if _, err := tree.Open(a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open: %v", err)
		}
		if _, err := tree.Create(path.Join(sub, "x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("create in no directory: %v", err)
		}
		must(t, tree.MkdirAll(sub))
		must(t, tree.MkdirAll(sub))
		write(t, tree, a, "1")
		write(t, tree, b, "2")
		must(t, tree.Rename(a, b))
		must(t, tree.SyncDir(dir))
		if got := content(t, tree, b); got != "1" {
			t.Errorf("after the rename %q", got)
		}
		names, err := tree.List(dir)
		if err != nil || !slices.Equal(names, []string{"b", "sub"}) {
			t.Errorf("names %q, %v", names, err)
		}
		if err := tree.Remove(path.Dir(sub)); err == nil {
			t.Error("a directory went that is not empty")
		}
		for what, err := range map[string]error{"remove": tree.Remove(a), "rename": tree.Rename(a, b)} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", what, err)
			}
		}
		info, err := tree.Stat(b)
		if err != nil || info.Size != 1 || info.Dir {
			t.Errorf("stat %+v, %v", info, err)
		}
		must(t, tree.RemoveAll(path.Dir(sub)))
		must(t, tree.RemoveAll(path.Dir(sub)))
		must(t, tree.RemoveAll(b))
		if names, err := tree.List(dir); err != nil || len(names) != 0 {
			t.Errorf("left are %q, %v", names, err)
		}
	})
}

func TestAnOpenFileOutlivesItsName(t *testing.T) {
	each(t, func(t *testing.T, tree FS, dir string) {
		name := path.Join(dir, "a")
		write(t, tree, name, "still here")
		f, err := tree.Open(name)
		must(t, err)
		must(t, tree.Remove(name))
		b := make([]byte, 10)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "still here" {
			t.Errorf("%q, %v", b, err)
		}
		must(t, f.Close())
	})
}

func TestOneHoldsALock(t *testing.T) {
	each(t, func(t *testing.T, tree FS, dir string) {
		name := path.Join(dir, "lock")
		held, err := tree.Lock(name)
		must(t, err)
		if _, err := tree.Lock(name); err == nil {
			t.Fatal("two hold it")
		}
		must(t, held.Close())
		again, err := tree.Lock(name)
		must(t, err)
		must(t, again.Close())
	})
}

func TestWriteFileReplacesAFile(t *testing.T) {
	each(t, func(t *testing.T, tree FS, dir string) {
		name := path.Join(dir, "a")
		for _, s := range []string{"first", "", "second, and longer"} {
			must(t, WriteFile(tree, name, []byte(s)))
			if got := content(t, tree, name); got != s {
				t.Errorf("%q, want %q", got, s)
			}
		}
	})
}

// Rule R16, against the twin: after WriteFile a power loss at any step leaves
// the old content or the new.
func TestWriteFileIsAtomicUnderPowerLoss(t *testing.T) {
	for step := 1; step < 12; step++ {
		for seed := range uint64(40) {
			m := NewMemory()
			must(t, WriteFile(m, "/a", []byte("old")))
			m.CrashAtStep(m.Steps() + step)
			err := WriteFile(m, "/a", []byte("new"))
			m.PowerLoss(rand.New(rand.NewPCG(seed, uint64(step))))
			got := content(t, m, "/a")
			if got != "new" && (err == nil || got != "old") {
				t.Fatalf("step %d, seed %d: %q, %v", step, seed, got, err)
			}
		}
	}
}

func TestPowerLossTakesWhatWasNotSyncedAndNothingElse(t *testing.T) {
	fates := map[string]bool{}
	for seed := range uint64(200) {
		m := NewMemory()
		f, err := m.Create("/a")
		must(t, err)
		_, err = f.WriteAt(make([]byte, 2*sector), 0)
		must(t, err)
		must(t, f.Sync())
		must(t, m.SyncDir("/"))
		write(t, m, "/b", "never synced")
		ones := make([]byte, 2*sector)
		for i := range ones {
			ones[i] = 1
		}
		_, err = f.WriteAt(ones, sector)
		must(t, err)
		m.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		if _, err := f.ReadAt(ones, 0); !errors.Is(err, ErrCrashed) {
			t.Fatalf("a file stays open: %v", err)
		}
		got := content(t, m, "/a")
		if len(got) < 2*sector || got[:sector] != string(make([]byte, sector)) {
			t.Fatalf("seed %d: what was synced is gone", seed)
		}
		_, err = m.Stat("/b")
		fates[string([]byte{got[sector], byte(len(got) / sector)})] = true
		fates[map[bool]string{true: "name kept", false: "name gone"}[err == nil]] = true
	}
	if len(fates) != 6 {
		t.Errorf("seen %d fates of 6: %v", len(fates), fates)
	}
}

func TestFaultyFailsAsItsRuleSays(t *testing.T) {
	m := NewMemory()
	var kind OpKind
	tree := Faulty(m, func(op Op) error {
		switch {
		case op.Kind == kind && op.Kind == OpRead:
			op.Data[0] ^= 1
			return nil
		case op.Kind == kind:
			return syscall.EIO
		}
		return nil
	})
	f, err := tree.Create("/a")
	must(t, err)
	try := map[OpKind]func() error{
		OpOpen:     func() error { _, err := tree.Open("/a"); return err },
		OpCreate:   func() error { _, err := tree.Create("/b"); return err },
		OpWrite:    func() error { _, err := f.WriteAt([]byte("abcd"), 0); return err },
		OpTruncate: func() error { return f.Truncate(1) },
		OpSync:     f.Sync,
		OpSyncDir:  func() error { return tree.SyncDir("/") },
		OpRename:   func() error { return tree.Rename("/a", "/c") },
		OpRemove:   func() error { return tree.Remove("/a") },
	}
	for k, op := range try {
		kind = k
		if err := op(); !errors.Is(err, syscall.EIO) {
			t.Errorf("kind %d: %v", k, err)
		}
	}
	if got := content(t, m, "/a"); got != "ab" {
		t.Errorf("a failed write left %q", got)
	}
	kind = OpRead
	if got := content(t, tree, "/a"); got != "`b" {
		t.Errorf("read %q", got)
	}
}
