package record

import (
	"math/rand/v2"
	"testing"
)

// benchRecords are 1000 records of 1 KiB that compress about threefold.
func benchRecords() []Record {
	rnd := rand.New(rand.NewPCG(1, 2))
	records := make([]Record, 1000)
	for i := range records {
		value := make([]byte, 1024)
		for j := range value {
			value[j] = "0123456789abcdef"[rnd.IntN(16)&rnd.IntN(16)]
		}
		records[i] = Record{Timestamp: int64(1_700_000_000_000 + i), Key: value[:8], Value: value}
	}
	return records
}

func BenchmarkBuild(b *testing.B) {
	records := benchRecords()
	for _, c := range allCodecs {
		b.Run(c.String(), func(b *testing.B) {
			builder, dst := NewBuilder(withCodec(c)), []byte(nil)
			b.SetBytes(1000 << 10)
			b.ReportAllocs()
			for b.Loop() {
				builder.Reset(withCodec(c))
				for i := range records {
					builder.Append(&records[i])
				}
				var err error
				if dst, err = builder.Build(dst[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	batch := build(b, DefaultBuilderOptions(), benchRecords()...)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidateProduced(b *testing.B) {
	batch := build(b, DefaultBuilderOptions(), benchRecords()...)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ValidateProduced(batch, ProduceRules{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForEach(b *testing.B) {
	for _, c := range allCodecs {
		batch := build(b, withCodec(c), benchRecords()...)
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(1000 << 10)
			b.ReportAllocs()
			for b.Loop() {
				err := ForEach(batch, DefaultLimits(), func(*Record) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
