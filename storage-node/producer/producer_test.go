package producer

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// send is a header of n records of producer 7.
func send(epoch int16, seq int32, n int32) *record.Header {
	return &record.Header{ProducerID: 7, ProducerEpoch: epoch, BaseSequence: seq, LastOffsetDelta: n - 1, Count: n}
}

// feed appends h at offset and fails the test where it is refused.
func feed(t *testing.T, s *State, h *record.Header, offset int64) {
	t.Helper()
	if d, err := s.Check(h); d != nil || err != nil {
		t.Fatalf("sequence %d: duplicate %v, error %v", h.BaseSequence, d, err)
	}
	h.BaseOffset = offset
	s.Apply(h, 1)
}

func TestTheLastFiveBatchesAreKnownAgainAndOlderAreOutOfOrder(t *testing.T) {
	s := New(10)
	for i := range int32(7) {
		feed(t, s, send(0, i*3, 3), 100+int64(i)*3)
	}
	for i := int32(2); i < 7; i++ {
		d, err := s.Check(send(0, i*3, 3))
		want := Duplicate{BaseOffset: 100 + int64(i)*3, LastOffset: 102 + int64(i)*3, AppendTimeMs: -1}
		if err != nil || d == nil || *d != want {
			t.Errorf("batch %d again: %v, %v; want %v", i, d, err, want)
		}
	}
	for _, seq := range []int32{3, 0, 22, 20} {
		if d, err := s.Check(send(0, seq, 3)); d != nil || !errcode.Is(err, errcode.OutOfOrderSequence) {
			t.Errorf("sequence %d: %v, %v; want out of order", seq, d, err)
		}
	}
	if _, err := s.Check(send(0, 18, 2)); !errcode.Is(err, errcode.OutOfOrderSequence) {
		t.Errorf("same first sequence, other length: %v, want out of order", err)
	}
}

func TestDuplicateKeepsItsAppendTime(t *testing.T) {
	s, h := New(10), send(0, 0, 1)
	h.Attributes, h.MaxTimestamp = 1<<3, 555
	feed(t, s, h, 0)
	if d, err := s.Check(send(0, 0, 1)); err != nil || d == nil || d.AppendTimeMs != 555 {
		t.Fatalf("got %v, %v; want the first append time", d, err)
	}
}

func TestSequenceWrapsToZero(t *testing.T) {
	s := New(10)
	feed(t, s, send(0, math.MaxInt32-1, 2), 0) // unknown: any first sequence
	feed(t, s, send(0, 0, 2), 2)
	feed(t, s, send(0, 2, 1), 4)
	s = New(10)
	feed(t, s, send(0, math.MaxInt32, 3), 0) // wraps inside the batch, to 1
	feed(t, s, send(0, 2, 1), 3)
	if d, _ := s.Check(send(0, math.MaxInt32, 3)); d == nil || d.BaseOffset != 0 {
		t.Fatalf("wrapped batch not known again: %v", d)
	}
}

func TestNewerEpochStartsAtZeroAndFencesTheOlder(t *testing.T) {
	s := New(10)
	feed(t, s, send(3, 0, 1), 0)
	if _, err := s.Check(send(4, 1, 1)); !errcode.Is(err, errcode.OutOfOrderSequence) {
		t.Fatalf("new epoch at sequence 1: %v", err)
	}
	feed(t, s, send(4, 0, 1), 1)
	if _, err := s.Check(send(3, 1, 1)); !errcode.Is(err, errcode.InvalidProducerEpoch) {
		t.Fatalf("old epoch: %v", err)
	}
}

func TestMarkerEndsTheTransactionAndRaisesTheEpoch(t *testing.T) {
	s, h := New(10), send(0, 0, 1)
	h.Attributes = 1 << 4
	feed(t, s, h, 0)
	s.Expire(math.MaxInt64)
	if s.Len() != 1 {
		t.Fatal("a producer with an open transaction expired")
	}
	s.Apply(&record.Header{ProducerID: 7, ProducerEpoch: 1, BaseSequence: -1, Attributes: 1<<5 | 1<<4, BaseOffset: 1}, 2)
	if _, err := s.Check(send(0, 1, 1)); !errcode.Is(err, errcode.InvalidProducerEpoch) {
		t.Fatalf("epoch before the marker: %v", err)
	}
	feed(t, s, send(1, 0, 1), 2)
	s.Expire(math.MaxInt64)
	if s.Len() != 0 {
		t.Fatal("a silent producer did not expire")
	}
}

func TestLimitForgetsTheLongestSilent(t *testing.T) {
	s := New(8)
	for pid := range int64(9) {
		s.Apply(&record.Header{ProducerID: pid, Count: 1, BaseSequence: 4}, pid)
	}
	if s.Len() > 8 || s.producers[0] != nil || s.producers[8] == nil {
		t.Fatalf("%d producers, first kept: %t", s.Len(), s.producers[0] != nil)
	}
}

// naive is the model: the whole history of one producer, searched anew.
type naive struct {
	epoch   int16
	batches []record.Header
}

func (n *naive) check(h *record.Header) (dup int64, reason errcode.Reason) {
	if n == nil {
		return -1, ""
	}
	if h.ProducerEpoch < n.epoch {
		return -1, errcode.InvalidProducerEpoch
	}
	var mine []record.Header
	for _, b := range n.batches {
		if b.ProducerEpoch == h.ProducerEpoch {
			mine = append(mine, b)
		}
	}
	if len(mine) == 0 {
		if h.BaseSequence != 0 {
			return -1, errcode.OutOfOrderSequence
		}
		return -1, ""
	}
	for _, b := range mine[max(0, len(mine)-5):] {
		if b.BaseSequence == h.BaseSequence && b.Count == h.Count {
			return b.BaseOffset, ""
		}
	}
	last := mine[len(mine)-1]
	if (int64(last.BaseSequence)+int64(last.Count))%(1<<31) != int64(h.BaseSequence) {
		return -1, errcode.OutOfOrderSequence
	}
	return -1, ""
}

func TestStateAgreesWithTheNaiveModelAndItsOwnSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model, end := New(1000), map[int64]*naive{}, int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			h := drawSend(t, model)
			wantDup, wantReason := model[h.ProducerID].check(&h)
			d, err := s.Check(&h)
			if errcode.ReasonOf(err) != wantReason {
				t.Fatalf("%+v: %v, the model says %q", h, err, wantReason)
			}
			if (d != nil) != (wantDup >= 0) || d != nil && d.BaseOffset != wantDup {
				t.Fatalf("%+v: duplicate %v, the model says %d", h, d, wantDup)
			}
			if err == nil && d == nil {
				h.BaseOffset = end
				s.Apply(&h, end)
				end = h.NextOffset()
				n := model[h.ProducerID]
				if n == nil {
					n = &naive{}
					model[h.ProducerID] = n
				}
				n.epoch, n.batches = h.ProducerEpoch, append(n.batches, h)
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				s = throughSnapshot(t, s, end)
			}
		}
	})
}

// drawSend draws a batch that mostly is what a producer would send next, or
// again.
func drawSend(t *rapid.T, model map[int64]*naive) record.Header {
	pid := rapid.Int64Range(0, 2).Draw(t, "pid")
	h := record.Header{ProducerID: pid, Count: rapid.Int32Range(1, 3).Draw(t, "count")}
	n := model[pid]
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case n == nil:
		h.BaseSequence = rapid.SampledFrom([]int32{0, 5, math.MaxInt32 - 4}).Draw(t, "first")
	case kind == 0:
		h = n.batches[len(n.batches)-1-min(len(n.batches)-1, rapid.IntRange(0, 7).Draw(t, "back"))]
		h.BaseOffset = 0
	case kind == 1:
		h.ProducerEpoch = n.epoch + rapid.Int16Range(0, 1).Draw(t, "bump")
	default:
		h.ProducerEpoch = n.epoch
		h.BaseSequence = next(n.batches[len(n.batches)-1].LastSequence())
	}
	h.LastOffsetDelta = h.Count - 1
	return h
}

func throughSnapshot(t *rapid.T, s *State, end int64) *State {
	b := s.AppendSnapshot(nil, end)
	back, got, err := Restore(b, 1000)
	if err != nil || got != end {
		t.Fatalf("restore: end %d, %v; want %d", got, err, end)
	}
	if again := back.AppendSnapshot(nil, end); !bytes.Equal(again, b) {
		t.Fatal("a restored state has another snapshot")
	}
	return back
}

func TestAnyFlippedBitOfASnapshotIsSeen(t *testing.T) {
	s := New(10)
	feed(t, s, send(0, 0, 1), 0)
	whole := s.AppendSnapshot(nil, 1)
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := Restore(b, 10); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	s := New(10)
	s.Apply(send(1, 4, 2), 9)
	f.Add(s.AppendSnapshot(nil, 2))
	f.Add(New(1).AppendSnapshot(nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, end, err := Restore(b, 10)
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(s.AppendSnapshot(nil, end), b) {
			t.Fatal("accepted bytes are not those the state writes")
		}
	})
}
