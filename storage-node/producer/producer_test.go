package producer

import (
	"math"
	"testing"

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
	if v, err := s.Check(h, Request{}); v != (Verdict{}) || err != nil {
		t.Fatalf("sequence %d: %+v, error %v", h.BaseSequence, v, err)
	}
	h.BaseOffset = offset
	s.Apply(nil, h, 1)
}

// again returns where h is, if it is known.
func again(s *State, h *record.Header) (*Duplicate, error) {
	v, err := s.Check(h, Request{})
	return v.Duplicate, err
}

func TestTheLastFiveBatchesAreKnownAgainAndOlderAreOutOfOrder(t *testing.T) {
	s := New(10, 1)
	for i := range int32(7) {
		feed(t, s, send(0, i*3, 3), 100+int64(i)*3)
	}
	for i := int32(2); i < 7; i++ {
		d, err := again(s, send(0, i*3, 3))
		want := Duplicate{BaseOffset: 100 + int64(i)*3, LastOffset: 102 + int64(i)*3, AppendTimeMs: -1}
		if err != nil || d == nil || *d != want {
			t.Errorf("batch %d again: %v, %v; want %v", i, d, err, want)
		}
	}
	for _, seq := range []int32{3, 0, 22, 20} {
		if d, err := again(s, send(0, seq, 3)); d != nil || !errcode.Is(err, errcode.OutOfOrderSequence) {
			t.Errorf("sequence %d: %v, %v; want out of order", seq, d, err)
		}
	}
	if _, err := again(s, send(0, 18, 2)); !errcode.Is(err, errcode.OutOfOrderSequence) {
		t.Errorf("same first sequence, other length: %v, want out of order", err)
	}
}

func TestDuplicateKeepsItsAppendTime(t *testing.T) {
	s, h := New(10, 1), send(0, 0, 1)
	h.Attributes, h.MaxTimestamp = 1<<3, 555
	feed(t, s, h, 0)
	if d, err := again(s, send(0, 0, 1)); err != nil || d == nil || d.AppendTimeMs != 555 {
		t.Fatalf("got %v, %v; want the first append time", d, err)
	}
}

func TestSequenceWrapsToZero(t *testing.T) {
	s := New(10, 1)
	feed(t, s, send(0, math.MaxInt32-1, 2), 0) // unknown: any first sequence
	feed(t, s, send(0, 0, 2), 2)
	feed(t, s, send(0, 2, 1), 4)
	s = New(10, 1)
	feed(t, s, send(0, math.MaxInt32, 3), 0) // wraps inside the batch, to 1
	feed(t, s, send(0, 2, 1), 3)
	if d, _ := again(s, send(0, math.MaxInt32, 3)); d == nil || d.BaseOffset != 0 {
		t.Fatalf("wrapped batch not known again: %v", d)
	}
}

func TestNewerEpochStartsAtZeroAndFencesTheOlder(t *testing.T) {
	s := New(10, 1)
	feed(t, s, send(3, 0, 1), 0)
	if _, err := again(s, send(4, 1, 1)); !errcode.Is(err, errcode.OutOfOrderSequence) {
		t.Fatalf("new epoch at sequence 1: %v", err)
	}
	feed(t, s, send(4, 0, 1), 1)
	if _, err := again(s, send(3, 1, 1)); !errcode.Is(err, errcode.InvalidProducerEpoch) {
		t.Fatalf("old epoch: %v", err)
	}
}

func TestLimitForgetsTheLongestSilent(t *testing.T) {
	s := New(8, 1)
	for pid := range int64(9) {
		s.Apply(nil, &record.Header{ProducerID: pid, Count: 1, BaseSequence: 4}, pid)
	}
	if s.Len() > 8 || s.producers[0] != nil || s.producers[8] == nil {
		t.Fatalf("%d producers, first kept: %t", s.Len(), s.producers[0] != nil)
	}
}
