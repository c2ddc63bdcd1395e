package record

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// franzRecord is the record as franz-go encodes it.
func franzRecord(r *Record, index int, base int64) []byte {
	k := kmsg.Record{
		TimestampDelta64: r.Timestamp - base,
		OffsetDelta:      int32(index),
		Key:              r.Key,
		Value:            r.Value,
	}
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	// The length is the size of what follows its own one byte.
	k.Length = int32(len(k.AppendTo(nil)) - 1)
	return k.AppendTo(nil)
}

// franzBatch is the batch as franz-go encodes it, without compression.
func franzBatch(opts BuilderOptions, records []Record) []byte {
	k := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1,
		Magic:                2,
		LastOffsetDelta:      int32(len(records) - 1),
		FirstTimestamp:       records[0].Timestamp,
		MaxTimestamp:         records[0].Timestamp,
		ProducerID:           opts.ProducerID,
		ProducerEpoch:        opts.ProducerEpoch,
		FirstSequence:        opts.BaseSequence,
		NumRecords:           int32(len(records)),
	}
	if opts.Transactional {
		k.Attributes = 1 << 4
	}
	for i := range records {
		k.MaxTimestamp = max(k.MaxTimestamp, records[i].Timestamp)
		k.Records = append(k.Records, franzRecord(&records[i], i, k.FirstTimestamp)...)
	}
	k.Length = int32(len(k.AppendTo(nil)) - 12)
	k.CRC = int32(checksum(k.AppendTo(nil)))
	return k.AppendTo(nil)
}

func TestBuilderWritesTheBytesFranzGoWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts, records := drawOptions(t), drawRecords(t)
		opts.Codec, opts.Level = None, 0
		b := NewBuilder(opts)
		for i := range records {
			b.Append(&records[i])
		}
		got, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := franzBatch(opts, records); !bytes.Equal(got, want) {
			t.Fatalf("got  %x\nwant %x", got, want)
		}
		if b.Size() != len(got) {
			t.Fatalf("Size said %d, the batch has %d", b.Size(), len(got))
		}
	})
}

func TestReaderReadsWhatFranzGoWrites(t *testing.T) {
	records := someRecords()
	batch := franzBatch(DefaultBuilderOptions(), records)
	if _, err := ValidateProduced(batch, ProduceRules{}); err != nil {
		t.Fatal(err)
	}
	SetBaseOffset(batch, 100)
	for i := range records {
		records[i].Offset = int64(100 + i)
	}
	if diff := cmp.Diff(records, collect(t, batch)); diff != "" {
		t.Fatal(diff)
	}
}

func TestMarkerIsTheOneFranzGoReads(t *testing.T) {
	for _, typ := range []ControlType{Abort, Commit} {
		want := Control{Type: typ, ProducerID: 7, ProducerEpoch: 3, CoordinatorEpoch: 9, Timestamp: 1234}
		batch := ControlBatch(want)
		h, err := Verify(batch)
		if err != nil || !h.Control() || !h.Transactional() || h.BaseSequence != -1 {
			t.Fatalf("%+v: %v", h, err)
		}
		got, err := ParseControl(batch)
		if err != nil || got != want {
			t.Fatalf("got %+v, %v", got, err)
		}
		r := collect(t, batch)[0]
		var key kmsg.ControlRecordKey
		var value kmsg.EndTxnMarker
		if key.ReadFrom(r.Key) != nil || value.ReadFrom(r.Value) != nil {
			t.Fatal("franz-go cannot read the marker")
		}
		if int16(key.Type) != int16(typ) || value.CoordinatorEpoch != 9 {
			t.Fatalf("franz-go read %+v %+v", key, value)
		}
	}
}
