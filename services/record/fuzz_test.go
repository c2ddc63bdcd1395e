package record

import (
	"errors"
	"testing"
)

// fuzzLimits keep one input from costing more than a few MiB.
func fuzzLimits() Limits {
	lim := DefaultLimits()
	lim.MaxDecompressedBytes, lim.FreeBytes = 4<<20, 64<<10
	return lim
}

func addBatches(f *testing.F) {
	for _, c := range allCodecs {
		f.Add(build(f, withCodec(c), someRecords()...))
	}
	f.Add(ControlBatch(Control{Type: Commit, ProducerID: 1}))
	f.Add(build(f, DefaultBuilderOptions(), someRecords()...)[:HeaderSize])
}

// wantTyped fails on an error that a caller could not act on.
func wantTyped(t *testing.T, err error) {
	var e *InvalidError
	if err != nil && err != ErrPartial && !errors.As(err, &e) {
		t.Fatalf("untyped error %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	addBatches(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, rest, h, err := Next(b)
		wantTyped(t, err)
		if err == nil && (len(batch) != h.Size() || len(batch)+len(rest) != len(b)) {
			t.Fatalf("%d + %d of %d bytes", len(batch), len(rest), len(b))
		}
		if err == nil {
			seal(batch) // let the fuzzer past the checksum
			_, err = Verify(batch)
			wantTyped(t, err)
			_, err = ParseControl(batch)
			wantTyped(t, err)
		}
		_, err = ValidateProduced(batch, ProduceRules{Deep: true, RequireKeys: true, Limits: fuzzLimits()})
		wantTyped(t, err)
	})
}

// FuzzForEach holds reader and validator against each other: what a leader
// takes, a consumer can read.
func FuzzForEach(f *testing.F) {
	addBatches(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		b[atMagic] = magic
		seal(b)
		h, invalid := ValidateProduced(b, ProduceRules{Deep: true, Limits: fuzzLimits()})
		next := h.BaseOffset
		err := ForEach(b, fuzzLimits(), func(r *Record) error {
			if r.Offset < next {
				t.Fatalf("offset %d after %d", r.Offset, next)
			}
			next = r.Offset + 1
			return nil
		})
		wantTyped(t, err)
		if invalid == nil && (err != nil || next != h.NextOffset()) {
			t.Fatalf("a valid batch was not read: %v", err)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, c := range compressed {
		f.Add(int8(c), squeeze(f, c, []byte("some records, some records")))
	}
	f.Add(int8(Snappy), xerial([]byte("some"), []byte(" records")))
	f.Fuzz(func(t *testing.T, c int8, b []byte) {
		const limit = 1 << 20
		out, err := decompress(nil, Codec(c), b, limit)
		if cap(out) > 16<<20 || err == nil && len(out) > limit {
			t.Fatalf("%d bytes in %d", len(out), cap(out))
		}
	})
}
