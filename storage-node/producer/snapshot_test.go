package producer

import (
	"bytes"
	"errors"
	"testing"

	"moldau.dev/services/record"
)

// lived is a state that has everything a snapshot can hold.
func lived() *State {
	s := New(10, 1)
	for i := range int32(7) {
		h := send(0, i, 1)
		h.BaseOffset = int64(i)
		s.Apply(nil, h, 9)
	}
	s.apply(txnBatch(8, 3, 0), 7)
	s.apply(marker(record.Abort, 8, 4, 6), 8)
	s.apply(txnBatch(9, 0, 0), 9)
	return s
}

func TestAnyFlippedBitOfASnapshotIsSeen(t *testing.T) {
	whole := lived().AppendSnapshot(nil, 10)
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := Restore(b, 10, 1); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(lived().AppendSnapshot(nil, 10))
	f.Add(New(1, 1).AppendSnapshot(nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, end, err := Restore(b, 10, 1)
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
