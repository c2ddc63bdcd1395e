package commitlog

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// Rule N7: an fsync that failed is never tried again.
func TestAFailedFsyncPoisonsTheLog(t *testing.T) {
	var failing atomic.Bool
	var syncs atomic.Int32
	fs := vfs.Faulty(vfs.NewMemory(), func(op vfs.Op) error {
		if op.Kind != vfs.OpSync || !failing.Load() {
			return nil
		}
		syncs.Add(1)
		return syscall.EIO
	})
	l := open(t, fs, small)
	want := appendTo(t, l, 2, 0)
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 2, 0)
	failing.Store(true)
	if _, err := l.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	b := batchAt(t, 4, 1, 0)
	h, _ := record.ParseHeader(b)
	for what, err := range map[string]error{
		"append": l.Append(b, h, noon), "roll": l.Roll(), "truncate": l.Truncate(0),
		"delete": l.DeleteBefore(1), "epoch": l.StartEpoch(9, 4), "reset": l.Reset(9),
	} {
		if !errors.Is(err, ErrPoisoned) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := l.Sync(); !errors.Is(err, ErrPoisoned) || syncs.Load() != 1 || l.DurableEnd() != 2 {
		t.Errorf("again: %v, %d fsyncs, durable to %d", err, syncs.Load(), l.DurableEnd())
	}
	if got, err := l.Read(0, 2, 1000, true, nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was durable cannot be read: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Rule N8: a full disk refuses the batch, leaves no trace of it, and the log
// goes on once there is room.
func TestAFullDiskRefusesABatchAndLeavesNoTrace(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewMemory()
	fs := vfs.Faulty(mem, func(op vfs.Op) error {
		grows := op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate
		if grows && full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	l := open(t, fs, small)
	var want []byte
	for i := range 40 {
		if i%5 == 4 { // also where a new segment would begin
			full.Store(true)
			b := batchAt(t, l.EndOffset(), 3, 0)
			h, _ := record.ParseHeader(b)
			if err := l.Append(b, h, noon); !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			full.Store(false)
		}
		want = append(want, appendTo(t, l, 2, 0)...)
	}
	if got := readAll(t, l); !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	again, _, err := Open(mem, "p", small, NewFileCache(4))
	if err != nil || !bytes.Equal(readAll(t, again), want) {
		t.Fatalf("after a restart: %v", err)
	}
}

func TestBitsFlippedOnTheWayFromTheDiskAreNotServed(t *testing.T) {
	var flip atomic.Bool
	mem := vfs.NewMemory()
	l := open(t, mem, Config{})
	for range 5 {
		appendTo(t, l, 2, 0)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fs := vfs.Faulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && flip.Load() && strings.HasSuffix(op.Name, ".log") && len(op.Data) > 70 {
			op.Data[70] ^= 1
		}
		return nil
	})
	l = open(t, fs, Config{})
	flip.Store(true)
	if b, err := l.Read(0, 10, 1000, true, nil); !errors.As(err, new(*CorruptionError)) || len(b) > 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestThousandsOfLogsNeedFewFiles(t *testing.T) {
	const most = 16
	files := NewFileCache(most)
	fs := vfs.NewMemory()
	var logs []*Log
	for i := range 200 {
		l, _, err := Open(fs, path.Join("p", string(rune('a'+i%26)), string(rune('a'+i/26))), small, files)
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 1, 0)
		if _, err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	for _, l := range logs {
		if got := readAll(t, l); len(got) == 0 || files.Open() > most+1 {
			t.Fatalf("%d bytes, %d files open", len(got), files.Open())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if files.Open() != 0 {
		t.Errorf("%d files are open after all logs were closed", files.Open())
	}
}

// Run with -race: one appends, one syncs, some read, one deletes.
func TestReadersRunBesideTheWriter(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	var done atomic.Bool
	var others sync.WaitGroup
	run := func(f func() error) {
		others.Go(func() {
			for !done.Load() {
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	run(func() error { _, err := l.Sync(); return err })
	run(func() error { return l.DeleteBefore(max(0, l.EndOffset()-200)) })
	run(func() error {
		_, err := Compact(l, CompactOptions{Now: noon, Bound: l.EndOffset() - 100})
		return err
	})
	for range 2 {
		run(func() error {
			from := max(l.StartOffset(), l.EndOffset()-50)
			b, err := l.Read(from, l.EndOffset(), 700, true, nil)
			if errors.Is(err, ErrOffsetOutOfRange) {
				return nil
			}
			for err == nil && len(b) > 0 {
				var batch []byte
				if batch, b, _, err = record.Next(b); err == nil {
					_, err = record.Verify(batch)
				}
			}
			return err
		})
		run(func() error {
			_, _, err := l.MaxTimestamp(l.EndOffset())
			return err
		})
	}
	for range 1500 {
		appendTo(t, l, 2, 0)
	}
	done.Store(true)
	others.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A new log is durable by its first Sync, which costs one fsync of bytes; the
// Syncs after it cost that alone.
func TestANewLogCostsTheFsyncOfItsFirstBytes(t *testing.T) {
	var syncs, dirs atomic.Int32
	fs := vfs.Faulty(vfs.NewMemory(), func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpSync:
			syncs.Add(1)
		case vfs.OpSyncDir:
			dirs.Add(1)
		}
		return nil
	})
	l := open(t, fs, Config{})
	for _, want := range [][2]int32{{1, 2}, {1, 0}, {1, 0}} {
		appendTo(t, l, 1, 0)
		if _, err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := [2]int32{syncs.Swap(0), dirs.Swap(0)}; got != want {
			t.Fatalf("%d fsyncs of bytes and %d of names, want %v", got[0], got[1], want)
		}
	}
}
