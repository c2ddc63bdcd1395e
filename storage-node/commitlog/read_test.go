package commitlog

import (
	"bytes"
	"testing"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

func TestReadKeepsToItsLimits(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	var all []byte
	var starts []int // of batches in all; batch i holds offsets 3i to 3i+2
	for range 50 {
		starts = append(starts, len(all))
		all = append(all, appendTo(t, l, 3, 0)...)
	}
	starts = append(starts, len(all))
	for from := int64(0); from < 150; from++ {
		for _, bound := range []int64{from, from + 1, 75, 150, 999} {
			for _, limit := range []int{0, 1, 130, 400, 5000} {
				for _, whole := range []bool{true, false} {
					got, err := l.Read(from, bound, limit, whole, nil)
					if err != nil {
						t.Fatal(err)
					}
					first := starts[from/3]
					if !bytes.HasPrefix(all[first:], got) {
						t.Fatalf("read at %d: not what was written", from)
					}
					size := starts[from/3+1] - first
					switch {
					case from < bound && (whole || limit >= size) && len(got) < size:
						t.Fatalf("read of [%d, %d) within %d gives nothing", from, bound, limit)
					case len(got) > limit && (!whole || len(got) > size):
						t.Fatalf("read of [%d, %d) within %d gives %d bytes", from, bound, limit, len(got))
					}
					if last := first + len(got); len(got) > 0 && last < len(all) {
						if h, err := record.ParseHeader(all[last:]); err != nil || from >= bound {
							t.Fatalf("read of [%d, %d) ends inside a batch at %d: %v", from, bound, h.BaseOffset, err)
						}
					}
					requireSlice(t, l, from, bound, limit, whole, got)
				}
			}
		}
	}
	for _, from := range []int64{-1, 151} {
		if _, err := l.Read(from, 999, 100, true, nil); err == nil {
			t.Errorf("read at %d: no error", from)
		}
	}
}

// requireSlice holds Slice to what Read gave: the same, up to the segment's end.
func requireSlice(t *testing.T, l *Log, from, bound int64, limit int, whole bool, want []byte) {
	t.Helper()
	s, err := l.Slice(from, bound, limit, whole)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size == 0 {
		if len(want) > 0 {
			t.Fatalf("slice of [%d, %d) within %d gives nothing, read %d bytes", from, bound, limit, len(want))
		}
		return
	}
	defer s.Release()
	b := make([]byte, s.Size)
	if _, err := s.File.ReadAt(b, s.Pos); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(want, b) {
		t.Fatalf("slice of [%d, %d) within %d: %d bytes, read gave %d", from, bound, limit, s.Size, len(want))
	}
	next := int64(0)
	for rest := b; len(rest) > 0; {
		_, after, h, err := record.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		next, rest = h.NextOffset(), after
	}
	if s.Next != next {
		t.Fatalf("slice of [%d, %d) within %d ends at %d, not at %d", from, bound, limit, next, s.Next)
	}
}

func TestASegmentIsRolledWhenItsFirstBatchIsOld(t *testing.T) {
	cfg := Config{SegmentAge: time.Hour}
	fs := vfs.NewMemory()
	l := open(t, fs, cfg)
	appendTo(t, l, 1, 0)
	if err := l.MaybeRoll(noon.Add(59 * time.Minute)); err != nil || l.SegmentCount() != 1 {
		t.Fatalf("%d segments, %v", l.SegmentCount(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, fs, cfg) // its first batch dates it now
	for range 2 {        // the second finds an empty segment
		if err := l.MaybeRoll(noon.Add(2 * time.Hour)); err != nil || l.SegmentCount() != 2 {
			t.Fatalf("%d segments, %v", l.SegmentCount(), err)
		}
	}
	appendTo(t, l, 1, 0)
	if l.SegmentCount() != 2 || l.EndOffset() != 2 {
		t.Errorf("%d segments, end %d", l.SegmentCount(), l.EndOffset())
	}
}

func TestAFollowerMayLeaveGaps(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, small)
	var want []byte
	for _, base := range []int64{4, 90, 1 << 33, 1<<33 + 50} { // the leader's log was compacted
		b := batchAt(t, base, 2, 0)
		h, err := record.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Append(b, h, noon)
		if base == 1<<33 && err == nil {
			t.Fatal("a gap that no segment can span was taken")
		}
		if base >= 1<<33 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b...)
	}
	l = open(t, fs, small) // killed
	got, err := l.Read(0, l.EndOffset(), 1000, true, nil)
	if err != nil || !bytes.Equal(got, want) || l.EndOffset() != 92 {
		t.Errorf("%d bytes of %d, end %d, %v", len(got), len(want), l.EndOffset(), err)
	}
	if err := l.Append(batchAt(t, 50, 1, 0), record.Header{BaseOffset: 50, Length: 59}, noon); err == nil {
		t.Error("an offset that goes back was taken")
	}
}
