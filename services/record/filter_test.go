package record

import (
	"bytes"
	"fmt"
	"testing"
)

func TestFilterKeepsOffsetsTimesAndProducer(t *testing.T) {
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		b := NewBuilder(BuilderOptions{Codec: codec, ProducerID: 7, ProducerEpoch: 2, BaseSequence: 40})
		for i := range 10 {
			b.Append(&Record{Timestamp: int64(1000 + i), Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")})
		}
		batch, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		SetBaseOffset(batch, 100)
		SetLeaderEpoch(batch, 5)
		kept, err := Filter(batch, DefaultLimits(), 9999, func(r *Record) bool { return r.Offset%3 == 0 })
		if err != nil {
			t.Fatal(err)
		}
		h, err := Verify(kept)
		if err != nil || h.BaseOffset != 100 || h.LastOffset() != 109 || h.LastSequence() != 49 || !h.DeleteHorizon() || h.BaseTimestamp != 9999 {
			t.Fatalf("%s: header %+v, %v", codec, h, err)
		}
		var got []string
		if err := ForEach(kept, DefaultLimits(), func(r *Record) error {
			got = append(got, fmt.Sprintf("%d@%d=%s", r.Offset, r.Timestamp, r.Key))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := "[102@1002=k2 105@1005=k5 108@1008=k8]"; fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", codec, got, want)
		}
		empty, err := Filter(kept, DefaultLimits(), -1, func(*Record) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if h, err := Verify(empty); err != nil || h.Count != 0 || h.LastSequence() != 49 || bytes.Equal(empty, kept) {
			t.Errorf("%s: empty batch %+v, %v", codec, h, err)
		}
	}
}
