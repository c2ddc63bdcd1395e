package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

var noon = time.UnixMilli(1_700_000_000_000)

// batchAt builds a batch of n records, keys and values named by their offsets.
func batchAt(t testing.TB, base int64, n int, epoch int32) []byte {
	t.Helper()
	b := record.NewBuilder(record.DefaultBuilderOptions())
	for i := range n {
		o := base + int64(i)
		b.Append(&record.Record{Timestamp: noon.UnixMilli() + o, Key: fmt.Appendf(nil, "k%d", o%5), Value: fmt.Appendf(nil, "value %d", o)})
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	record.SetBaseOffset(batch, base)
	record.SetLeaderEpoch(batch, epoch)
	return batch
}

func appendTo(t testing.TB, l *Log, n int, epoch int32) []byte {
	t.Helper()
	b := batchAt(t, l.EndOffset(), n, epoch)
	h, err := record.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(b, h, noon); err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, fs vfs.FS, cfg Config) *Log {
	t.Helper()
	l, _, err := Open(fs, "p", cfg, NewFileCache(8))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var small = Config{SegmentBytes: 1000, IndexIntervalBytes: 100}

func readAll(t testing.TB, l *Log) []byte {
	t.Helper()
	var all []byte
	for from := l.StartOffset(); from < l.EndOffset(); {
		b, err := l.Read(from, l.EndOffset(), 300, true, nil)
		if err != nil || len(b) == 0 {
			t.Fatalf("read at %d of [%d, %d): %d bytes, %v", from, l.StartOffset(), l.EndOffset(), len(b), err)
		}
		all = append(all, b...)
		for rest := b; len(rest) > 0; {
			_, next, h, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest, from = next, h.NextOffset()
		}
	}
	return all
}

func TestWhatWasAppendedIsReadBackByteForByteThroughARestart(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMemory(), "os": osAt{vfs.OS{}, t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			l := open(t, fs, small)
			var want []byte
			for i := range 60 {
				want = append(want, appendTo(t, l, 1+i%4, int32(i/20))...)
			}
			if got := readAll(t, l); !bytes.Equal(got, want) {
				t.Fatalf("read %d bytes, want %d", len(got), len(want))
			}
			if l.SegmentCount() < 5 {
				t.Fatalf("%d segments", l.SegmentCount())
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again, rec, err := Open(fs, "p", small, NewFileCache(2))
			if err != nil || !rec.Clean {
				t.Fatalf("%+v, %v", rec, err)
			}
			if got := readAll(t, again); !bytes.Equal(got, want) || again.LatestEpoch() != 2 {
				t.Fatalf("after the restart: %d bytes, want %d; epoch %d", len(got), len(want), again.LatestEpoch())
			}
			if e, end := again.EndOffsetForEpoch(0); e != 0 || end != 50 {
				t.Errorf("epoch 0 ends as (%d, %d), want (0, 50)", e, end)
			}
		})
	}
}

// osAt roots the operating system's files in a directory of the test.
type osAt struct {
	vfs.FS
	root string
}

func (o osAt) in(n string) string                { return o.root + "/" + n }
func (o osAt) Open(n string) (vfs.File, error)   { return o.FS.Open(o.in(n)) }
func (o osAt) Create(n string) (vfs.File, error) { return o.FS.Create(o.in(n)) }
func (o osAt) Remove(n string) error             { return o.FS.Remove(o.in(n)) }
func (o osAt) Rename(a, b string) error          { return o.FS.Rename(o.in(a), o.in(b)) }
func (o osAt) MkdirAll(n string) error           { return o.FS.MkdirAll(o.in(n)) }
func (o osAt) List(n string) ([]string, error)   { return o.FS.List(o.in(n)) }
func (o osAt) SyncDir(n string) error            { return o.FS.SyncDir(o.in(n)) }

// Invariant 28: whatever the disk kept, the log is a prefix of what was
// appended, at a batch boundary, and not shorter than what Sync returned.
func TestAfterAPowerLossTheLogIsAPrefixThatHoldsAllThatWasSynced(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewMemory()
		var written []byte
		synced := 0
		for life := range 4 {
			l, rec, err := Open(fs, "p", small, NewFileCache(1+r.IntN(6)))
			if err != nil {
				t.Fatalf("seed %d life %d: %v", seed, life, err)
			}
			got := readAll(t, l)
			if len(got) < synced || !bytes.HasPrefix(written, got) {
				t.Fatalf("seed %d life %d: %d bytes are left, %d were synced, %+v", seed, life, len(got), synced, rec)
			}
			written = written[:len(got)]
			for r.IntN(12) != 0 {
				switch r.IntN(5) {
				case 0:
					if _, err := l.Sync(); err != nil {
						t.Fatal(err)
					}
					synced = len(written)
				default:
					written = append(written, appendTo(t, l, 1+r.IntN(5), int32(life))...)
				}
			}
			fs.PowerLoss(r)
		}
	}
}

func TestDamageUnderASyncIsReportedAndNeverServed(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, Config{SegmentBytes: 1 << 20, IndexIntervalBytes: 100})
	var written int
	for range 20 {
		written += len(appendTo(t, l, 3, 0))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("p/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xfe}, int64(written-10)); err != nil {
		t.Fatal(err)
	}
	l = open(t, fs, small)
	var bad *CorruptionError
	for from := int64(0); from < l.EndOffset(); from++ {
		b, err := l.Read(from, l.EndOffset(), 1, true, nil)
		if err != nil {
			if !errors.As(err, &bad) || len(b) > 0 {
				t.Fatalf("read at %d: %d bytes, %v", from, len(b), err)
			}
			continue
		}
		if _, err := record.Verify(b); err != nil {
			t.Fatalf("served damage at %d: %v", from, err)
		}
	}
	if bad == nil {
		t.Fatal("the damage was not reported")
	}
	fs2 := fs // the process dies: the state is not clean, the durable mark stays
	if _, _, err := Open(fs2, "p", small, NewFileCache(2)); !errors.As(err, &bad) {
		t.Fatalf("an unclean start over damage below the durable mark gave %v", err)
	}
}

func TestATornTailThatNoSyncCoveredIsCut(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, Config{SegmentBytes: 1 << 20, IndexIntervalBytes: 100})
	want := appendTo(t, l, 3, 0)
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("p/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("half a batch"), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	l, rec, err := Open(fs, "p", small, NewFileCache(2))
	if err != nil || rec.TruncatedBytes != 12 || !bytes.Equal(readAll(t, l), want) {
		t.Fatalf("%+v, %v", rec, err)
	}
}

func TestDamagedIndexAndStateFilesAreMadeAgain(t *testing.T) {
	for _, suffix := range []string{".index", "log.state"} {
		for _, how := range []string{"zero", "cut", "gone"} {
			t.Run(suffix+" "+how, func(t *testing.T) {
				fs := vfs.NewMemory()
				l := open(t, fs, small)
				var want []byte
				for range 30 {
					want = append(want, appendTo(t, l, 2, 1)...)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				names, err := fs.List("p")
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range names {
					if !strings.HasSuffix(n, suffix) {
						continue
					}
					f, err := fs.Open("p/" + n)
					if err != nil {
						t.Fatal(err)
					}
					switch how {
					case "zero":
						_, err = f.WriteAt(make([]byte, 40), 0)
					case "cut":
						err = f.Truncate(11)
					case "gone":
						err = fs.Remove("p/" + n)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				l = open(t, fs, small)
				if got := readAll(t, l); !bytes.Equal(got, want) || l.LatestEpoch() != 1 {
					t.Fatalf("%d bytes, want %d; epoch %d", len(got), len(want), l.LatestEpoch())
				}
			})
		}
	}
}

func TestRecordsAreFoundByTime(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	for range 40 {
		appendTo(t, l, 5, 0)
	}
	for _, want := range []int64{0, 1, 57, 123, 199} {
		st, ok, err := l.OffsetForTimestamp(noon.UnixMilli()+want, l.EndOffset())
		if err != nil || !ok || st.Offset != want {
			t.Errorf("time of %d: %+v %v %v", want, st, ok, err)
		}
	}
	if _, ok, err := l.OffsetForTimestamp(noon.UnixMilli()+200, l.EndOffset()); ok || err != nil {
		t.Errorf("a time after the end: %v %v", ok, err)
	}
	if st, ok, err := l.MaxTimestamp(l.EndOffset()); err != nil || !ok || st.Offset != 199 {
		t.Errorf("max timestamp: %+v %v %v", st, ok, err)
	}
}

func TestTheStartMovesBeforeAnythingIsDeleted(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, small)
	for range 60 {
		appendTo(t, l, 2, 0)
	}
	before := l.SegmentCount()
	if err := l.DeleteBefore(71); err != nil {
		t.Fatal(err)
	}
	if l.StartOffset() != 71 || l.SegmentCount() >= before {
		t.Fatalf("start %d, %d segments of %d", l.StartOffset(), l.SegmentCount(), before)
	}
	if _, err := l.Read(70, 120, 100, true, nil); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read before the start: %v", err)
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	fs.PowerLoss(rand.New(rand.NewPCG(1, 1)))
	if l = open(t, fs, small); l.StartOffset() != 71 || l.EndOffset() != 120 {
		t.Errorf("after a power loss [%d, %d)", l.StartOffset(), l.EndOffset())
	}
	if n, err := l.Retain(noon.Add(time.Hour), time.Minute, -1, 120); err != nil || n == 0 || l.StartOffset() != 120 {
		t.Errorf("retention by time: %d segments, start %d, %v", n, l.StartOffset(), err)
	}
}

func TestRetentionBySizeLeavesAtLeastThatMuch(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	for range 100 {
		appendTo(t, l, 2, 0)
	}
	if _, err := l.Retain(noon, -1, 3000, l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	if s := l.Size(); s < 3000 || s > 4100 {
		t.Errorf("%d bytes are left", s)
	}
}

func TestCompactionKeepsTheLastOfEachKeyAndMovesNoOffset(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, small)
	for range 40 {
		appendTo(t, l, 3, 0)
	}
	fold := func() map[string]string {
		m := map[string]string{}
		for rest := readAll(t, l); len(rest) > 0; {
			b, next, _, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = next
			if err := record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
				if want := fmt.Sprintf("value %d", r.Offset); string(r.Value) != want {
					t.Fatalf("offset %d holds %q", r.Offset, r.Value)
				}
				m[string(r.Key)] = string(r.Value)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	want := fold()
	stats, err := Compact(l, CompactOptions{Now: noon.Add(time.Hour), Bound: l.EndOffset()})
	if err != nil || stats.SegmentsCleaned == 0 || stats.BytesAfter >= stats.BytesBefore {
		t.Fatalf("%+v, %v", stats, err)
	}
	if got := fold(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("folds to %v, want %v", got, want)
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	fs.PowerLoss(rand.New(rand.NewPCG(3, 1)))
	l = open(t, fs, small)
	if got := fold(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a power loss folds to %v, want %v", got, want)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{16, 1000} {
		b.Run(fmt.Sprintf("%dKiB", n), func(b *testing.B) {
			l, _, err := Open(osAt{vfs.OS{}, b.TempDir()}, "p", DefaultConfig(), NewFileCache(8))
			if err != nil {
				b.Fatal(err)
			}
			bl := record.NewBuilder(record.DefaultBuilderOptions())
			for range n {
				bl.Append(&record.Record{Value: make([]byte, 1024), Timestamp: noon.UnixMilli()})
			}
			batch, err := bl.Build(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				record.SetBaseOffset(batch, l.EndOffset())
				h, _ := record.ParseHeader(batch)
				if err := l.Append(batch, h, noon); err != nil {
					b.Fatal(err)
				}
				if l.Size() > 1<<29 {
					if err := l.DeleteBefore(l.EndOffset()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
