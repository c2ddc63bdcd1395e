package record

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, label string) []byte {
	switch rapid.IntRange(0, 3).Draw(t, label+" kind") {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return bytes.Repeat([]byte{'a'}, rapid.IntRange(1, 5000).Draw(t, label+" size"))
	}
	return rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, label)
}

func drawRecords(t *rapid.T) []Record {
	base := rapid.Int64Range(0, 1<<42).Draw(t, "base time")
	records := make([]Record, rapid.IntRange(1, 20).Draw(t, "records"))
	for i := range records {
		r := &records[i]
		r.Timestamp = max(0, base+rapid.Int64Range(-1<<35, 1<<35).Draw(t, "time"))
		r.Key, r.Value = drawBytes(t, "key"), drawBytes(t, "value")
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			r.Headers = append(r.Headers, RecordHeader{
				Key:   rapid.SampledFrom([]string{"", "trace", "ключ"}).Draw(t, "header key"),
				Value: drawBytes(t, "header value"),
			})
		}
	}
	return records
}

func drawOptions(t *rapid.T) BuilderOptions {
	opts := DefaultBuilderOptions()
	opts.Codec = rapid.SampledFrom(allCodecs).Draw(t, "codec")
	opts.Level = rapid.IntRange(0, 9).Draw(t, "level")
	if rapid.Bool().Draw(t, "idempotent") {
		opts.ProducerID = rapid.Int64Range(0, 1<<62).Draw(t, "producer")
		opts.ProducerEpoch = rapid.Int16Min(0).Draw(t, "epoch")
		opts.BaseSequence = rapid.Int32Min(0).Draw(t, "sequence")
		opts.Transactional = rapid.Bool().Draw(t, "transactional")
	}
	return opts
}

func TestWhatIsBuiltIsReadBackOverAllCodecs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts, records := drawOptions(t), drawRecords(t)
		offset := rapid.Int64Range(0, 1<<62).Draw(t, "offset")
		b := NewBuilder(opts)
		for i := range records {
			b.Append(&records[i])
			records[i].Offset = offset + int64(i)
		}
		prefix := []byte("what was there before")
		built, err := b.Build(bytes.Clone(prefix))
		if err != nil || !bytes.HasPrefix(built, prefix) {
			t.Fatalf("build: %v", err)
		}
		batch := built[len(prefix):]
		SetBaseOffset(batch, offset)
		SetLeaderEpoch(batch, 5)
		h, err := ValidateProduced(batch, ProduceRules{Deep: true})
		if err != nil {
			t.Fatal(err)
		}
		if parsed, _ := ParseHeader(batch); parsed != h || h.Codec() != opts.Codec || h.LeaderEpoch != 5 {
			t.Fatalf("validated %+v, parsed %+v", h, parsed)
		}
		var got []Record
		err = ForEach(batch, DefaultLimits(), func(r *Record) error {
			got = append(got, clone(r))
			return nil
		})
		if diff := cmp.Diff(records, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func TestAnyFlippedBitAfterTheCRCIsSeen(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	for i := atCRC; i < len(batch); i++ {
		for bit := range 8 {
			batch[i] ^= 1 << bit
			if _, err := Verify(batch); err == nil {
				t.Fatalf("bit %d of byte %d flipped unseen", bit, i)
			}
			batch[i] ^= 1 << bit
		}
	}
}

func TestVarintsTakeWhatTheirTypeHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64().Draw(t, "v")
		b := appendVarint(nil, v)
		if len(b) != varintLen(v) {
			t.Fatalf("%d takes %d bytes, not %d", v, len(b), varintLen(v))
		}
		if got, i := readVarlong(b, 0); got != v || i != len(b) {
			t.Fatalf("read %d for %d", got, v)
		}
		got, i := readVarint(b, 0)
		if fits := v == int64(int32(v)); fits != (i == len(b)) || fits && int64(got) != v {
			t.Fatalf("read %d, %d for %d", got, i, v)
		}
		if _, i := readVarlong(b[:len(b)-1], 0); i != -1 {
			t.Fatal("read a cut number")
		}
	})
}
