package commitlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"moldau.dev/storage-node/vfs"
)

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
