package record

import (
	"bytes"
	"errors"
	"testing"
)

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// build makes one batch of the records, failing the test when it cannot.
func build(t testing.TB, opts BuilderOptions, records ...Record) []byte {
	t.Helper()
	b := NewBuilder(opts)
	for i := range records {
		b.Append(&records[i])
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func withCodec(c Codec) BuilderOptions {
	opts := DefaultBuilderOptions()
	opts.Codec = c
	return opts
}

// someRecords are three records with what is awkward: nulls, empties, headers
// that repeat, time that goes back.
func someRecords() []Record {
	return []Record{
		{Timestamp: 1_700_000_000_000, Key: []byte("k"), Value: []byte("value")},
		{Timestamp: 1_700_000_000_900, Key: []byte{}, Value: nil, Headers: []RecordHeader{
			{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}, {Key: "", Value: []byte{}},
		}},
		{Timestamp: 1_699_999_999_000, Key: []byte("l"), Value: bytes.Repeat([]byte("v"), 300)},
	}
}

// rawBatch seals a header and a payload taken as they are.
func rawBatch(h Header, payload []byte) []byte {
	b := append(h.append(nil), payload...)
	seal(b)
	return b
}

// plainHeader is the header of n records without producer.
func plainHeader(n int32) Header {
	return Header{
		LeaderEpoch: -1, LastOffsetDelta: n - 1, Count: n,
		BaseTimestamp: 1000, MaxTimestamp: 1000,
		ProducerID: NoProducerID, ProducerEpoch: -1, BaseSequence: -1,
	}
}

// wantInvalid checks the class of err and the index of the record at fault.
func wantInvalid(t testing.TB, err error, reason Reason, index int) {
	t.Helper()
	var e *InvalidError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %v", err, reason)
	}
	if e.Reason != reason || e.Index != index {
		t.Fatalf("got %v (index %d), want %v at index %d", e, e.Index, reason, index)
	}
}

// collect copies the records of a batch out.
func collect(t testing.TB, batch []byte) []Record {
	t.Helper()
	var out []Record
	err := ForEach(batch, DefaultLimits(), func(r *Record) error {
		out = append(out, clone(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func clone(r *Record) Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), nil
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, RecordHeader{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return c
}
