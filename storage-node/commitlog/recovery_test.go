package commitlog

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// damage changes every file of the log whose name ends so.
func damage(t *testing.T, fs vfs.FS, suffix, how string) {
	t.Helper()
	names, err := fs.List("p")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		if how == "gone" {
			err = fs.Remove("p/" + name)
		} else {
			err = spoil(fs, "p/"+name, how)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func spoil(fs vfs.FS, name, how string) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	switch how {
	case "zeroed":
		_, err = f.WriteAt(make([]byte, size), 0)
	case "cut":
		err = f.Truncate(size / 2)
	case "longer":
		_, err = f.WriteAt([]byte("tail"), size)
	case "flipped":
		var b [1]byte
		if _, err = f.ReadAt(b[:], size/2); err == nil {
			b[0] ^= 0x10
			_, err = f.WriteAt(b[:], size/2)
		}
	}
	return errors.Join(err, f.Close())
}

func closedLog(t *testing.T, batches int) (*vfs.Memory, []byte) {
	t.Helper()
	fs := vfs.NewMemory()
	l := open(t, fs, small)
	var want []byte
	for i := range batches {
		want = append(want, appendTo(t, l, 2, int32(i/10))...)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, want
}

func TestDamagedIndexesAndCheckpointsAreMadeAgain(t *testing.T) {
	for _, file := range []string{".index", ".timeindex", "checkpoint.0", "checkpoint.1", "checkpoint.0 checkpoint.1"} {
		for _, how := range []string{"zeroed", "cut", "longer", "flipped", "gone"} {
			t.Run(file+" "+how, func(t *testing.T) {
				fs, want := closedLog(t, 30)
				for _, suffix := range strings.Fields(file) {
					damage(t, fs, suffix, how)
				}
				for range 2 {
					l := open(t, fs, small)
					if got := readAll(t, l); !bytes.Equal(got, want) || l.LatestEpoch() != 2 {
						t.Fatalf("%d bytes, want %d; epoch %d", len(got), len(want), l.LatestEpoch())
					}
					if e, end := l.EndOffsetForEpoch(0); e != 0 || end != 20 {
						t.Fatalf("epoch 0 ends at (%d, %d)", e, end)
					}
					if st, ok, err := l.OffsetForTimestamp(noon.UnixMilli()+33, l.EndOffset()); !ok || err != nil || st.Offset != 33 {
						t.Fatalf("by time: %+v, %v, %v", st, ok, err)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// Rule N6: what was durable is reported when it is gone, and nothing changes.
func TestLostSegmentsAreReportedAndNothingIsCut(t *testing.T) {
	for _, how := range []string{"gone", "cut"} {
		t.Run(how, func(t *testing.T) {
			fs, _ := closedLog(t, 30)
			names, err := fs.List("p")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if !strings.HasSuffix(name, ".log") {
					continue
				}
				fs, _ := closedLog(t, 30)
				damage(t, fs, name, how)
				if _, _, err := Open(fs, "p", small, NewFileCache(4)); !errors.As(err, new(*CorruptionError)) {
					t.Fatalf("%s: %v", name, err)
				}
				left, err := fs.List("p")
				if err != nil || how == "cut" && len(left) != len(names) {
					t.Fatalf("%s: %d files of %d are left, %v", name, len(left), len(names), err)
				}
			}
		})
	}
}

func TestFlippedBitsInSegmentsAreReportedAndNeverServed(t *testing.T) {
	_, want := closedLog(t, 30)
	reported := 0
	for at := 0; at < len(want); at += 7 {
		fs, _ := closedLog(t, 30)
		flipAt(t, fs, at)
		l, _, err := Open(fs, "p", small, NewFileCache(4))
		if err != nil {
			t.Fatal(err)
		}
		for from := int64(0); from < l.EndOffset(); from++ {
			b, err := l.Read(from, l.EndOffset(), 250, true, nil)
			if err != nil && !errors.As(err, new(*CorruptionError)) {
				t.Fatalf("bit %d, offset %d: %v", at, from, err)
			}
			if err != nil {
				reported++
			}
			for len(b) > 0 {
				batch, rest, h, err := record.Next(b)
				if err != nil {
					t.Fatal(err)
				}
				// The base offset and the epoch lie outside of the checksum.
				if i := bytes.Index(want, batch[16:]); i < 0 || h.BaseOffset < from-1 {
					t.Fatalf("bit %d: damage was served at offset %d", at, from)
				}
				b = rest
			}
			s, err := l.Slice(from, l.EndOffset(), 250, true)
			if err != nil && !errors.As(err, new(*CorruptionError)) {
				t.Fatalf("slice at %d: %v", from, err)
			}
			if s.Size > 0 {
				s.Release()
			}
		}
	}
	if reported == 0 {
		t.Fatal("no damage was reported")
	}
}

// flipAt flips a bit of byte at of the log, counted over its segments.
func flipAt(t *testing.T, fs vfs.FS, at int) {
	t.Helper()
	names, err := fs.List("p")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		info, err := fs.Stat("p/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if int64(at) >= info.Size {
			at -= int(info.Size)
			continue
		}
		f, err := fs.Open("p/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], int64(at)); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b[:], int64(at)); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func TestATornTailThatNoSyncCoveredIsCut(t *testing.T) {
	for _, tail := range []string{"half a batch", string(make([]byte, 500)), string(batchAt(t, 0, 2, 0)), string(batchAt(t, 3, 2, 0)[:80])} {
		fs := vfs.NewMemory()
		l := open(t, fs, Config{})
		want := appendTo(t, l, 3, 0)
		if _, err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Open("p/00000000000000000000.log")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(tail), int64(len(want))); err != nil {
			t.Fatal(err)
		}
		l, rec, err := Open(fs, "p", Config{}, NewFileCache(2))
		if err != nil || rec.Clean || rec.TruncatedBytes != int64(len(tail)) || !bytes.Equal(readAll(t, l), want) {
			t.Fatalf("%+v, %v", rec, err)
		}
	}
}

func TestACleanStartScansNothing(t *testing.T) {
	fs, _ := closedLog(t, 30)
	for range 2 {
		l, rec, err := Open(fs, "p", small, NewFileCache(4))
		if err != nil || !rec.Clean || rec.BatchesScanned != 0 {
			t.Fatalf("%+v, %v", rec, err)
		}
		if l.DurableEnd() != 60 || l.EndOffset() != 60 {
			t.Fatalf("durable to %d of %d", l.DurableEnd(), l.EndOffset())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzOpen opens a log over arbitrary files: it must neither panic nor serve
// what does not hold, and a log that opens must be able to go on.
func FuzzOpen(f *testing.F) {
	good := func(name string) []byte {
		fs := vfs.NewMemory()
		l := open(f, fs, small)
		for range 12 {
			appendTo(f, l, 2, 0)
		}
		if err := l.Close(); err != nil {
			f.Fatal(err)
		}
		b, err := vfs.ReadFile(fs, "p/"+name)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	log, index, times := good("00000000000000000000.log"), good("00000000000000000000.index"), good("00000000000000000000.timeindex")
	f.Add(log, index, times, good("checkpoint.0"), true)
	f.Add(log, index, times, good("checkpoint.1"), false)
	f.Add(log[:100], []byte{}, []byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, log, index, times, ck []byte, reseal bool) {
		fs := vfs.NewMemory()
		if err := fs.MkdirAll("p"); err != nil {
			t.Fatal(err)
		}
		if reseal { // reach past the checksums
			for _, b := range [][]byte{index, times, ck} {
				if len(b) > 8 {
					sealFile(b)
				}
			}
		}
		for name, b := range map[string][]byte{
			"00000000000000000000.log": log, "00000000000000000000.index": index,
			"00000000000000000000.timeindex": times, "checkpoint.0": ck,
		} {
			if err := vfs.WriteFile(fs, "p/"+name, b); err != nil {
				t.Fatal(err)
			}
		}
		l, _, err := Open(fs, "p", small, NewFileCache(4))
		if err != nil {
			return
		}
		for from := l.StartOffset(); from <= l.EndOffset() && from < l.StartOffset()+100; from++ {
			b, err := l.Read(from, l.EndOffset(), 1000, true, nil)
			for err == nil && len(b) > 0 {
				var batch []byte
				if batch, b, _, err = record.Next(b); err == nil {
					_, err = record.Verify(batch)
				}
				if err != nil {
					t.Fatalf("served %v", err)
				}
			}
		}
		if _, _, err := l.OffsetForTimestamp(noon.UnixMilli(), l.EndOffset()); err != nil && !errors.As(err, new(*CorruptionError)) && !errors.As(err, new(*record.InvalidError)) {
			t.Fatal(err)
		}
		_ = l.Truncate(l.StartOffset() + (l.EndOffset()-l.StartOffset())/2) // damage may be met
		_ = l.Close()
	})
}

// Rule N6 after a kill: also a log that has no checkpoint yet is missed.
func TestALostYoungLogIsReportedAfterAKill(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, Config{})
	appendTo(t, l, 2, 0)
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	damage(t, fs, ".log", "gone")
	if _, _, err := Open(fs, "p", Config{}, NewFileCache(4)); !errors.As(err, new(*CorruptionError)) {
		t.Fatalf("a log without its segment: %v", err)
	}
}

// Rule N6 after a kill: what was synced since the last mark is known too.
func TestDamageToWhatWasSyncedIsReportedAfterAKill(t *testing.T) {
	for _, synced := range []bool{true, false} {
		fs := vfs.NewMemory()
		l := open(t, fs, Config{})
		first := appendTo(t, l, 2, 0)
		for range 2 {
			if _, err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			appendTo(t, l, 2, 0)
		}
		if synced {
			if _, err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		flipAt(t, fs, 2*len(first)+70)
		l, rec, err := Open(fs, "p", Config{}, NewFileCache(4))
		if synced && !errors.As(err, new(*CorruptionError)) {
			t.Fatalf("synced damage: %v", err)
		}
		if !synced && (err != nil || l.EndOffset() != 4 || rec.TruncatedBytes == 0) {
			t.Fatalf("torn tail: %+v, %v", rec, err)
		}
	}
}
