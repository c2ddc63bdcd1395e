package record

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"
)

var compressed = []Codec{Gzip, Snappy, LZ4, Zstd}

func squeeze(t testing.TB, c Codec, src []byte) []byte {
	t.Helper()
	out, err := compress(nil, c, 0, src)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func xerial(blocks ...[]byte) []byte {
	out := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for _, b := range blocks {
		enc := snappy.Encode(nil, b)
		out = binary.BigEndian.AppendUint32(out, uint32(len(enc)))
		out = append(out, enc...)
	}
	return out
}

func TestOutputOfExactlyTheLimitPassesAndOneMoreFails(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := rapid.SampledFrom(compressed).Draw(rt, "codec")
		src := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "unit"), rapid.IntRange(1, 500).Draw(rt, "times"))
		enc := squeeze(t, c, src)
		prefix := []byte("prefix")
		limit := len(prefix) + len(src)
		got, err := decompress(bytes.Clone(prefix), c, enc, limit)
		if err != nil || !bytes.Equal(got, append(prefix, src...)) {
			rt.Fatalf("%v: %v", c, err)
		}
		_, err = decompress(bytes.Clone(prefix), c, enc, limit-1)
		wantInvalid(t, err, TooLarge, -1)
	})
}

func TestEveryCutOfAStreamIsRefused(t *testing.T) {
	src := bytes.Repeat([]byte("some records "), 20)
	for _, c := range compressed {
		enc := squeeze(t, c, src)
		for n := range enc {
			if _, err := decompress(nil, c, enc[:n], 1<<20); err == nil {
				t.Fatalf("%v: %d of %d bytes were enough", c, n, len(enc))
			}
		}
	}
}

func TestBytesAfterTheStreamAreRefused(t *testing.T) {
	for _, c := range compressed {
		for n := 1; n < 20; n++ {
			enc := append(squeeze(t, c, []byte("some records")), make([]byte, n)...)
			_, err := decompress(nil, c, enc, 1<<20)
			if err == nil {
				t.Fatalf("%v: %d bytes of garbage were ignored", c, n)
			}
			wantInvalid(t, err, Corrupt, -1)
		}
	}
}

// bombs are about a gibibyte of zeros, as small as each format makes them.
func bombs(t *testing.T) map[string]struct {
	c   Codec
	enc []byte
} {
	const chunk, chunks = 1 << 20, 1 << 10
	write := func(w io.WriteCloser) {
		zeros := make([]byte, chunk)
		for range chunks {
			if _, err := w.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var gz, zs bytes.Buffer
	write(gzip.NewWriter(&gz))
	zw, _ := zstd.NewWriter(&zs, zstd.WithEncoderConcurrency(1))
	write(zw)
	var lz bytes.Buffer
	lw := lz4.NewWriter(&lz)
	_ = lw.Apply(lz4.ConcurrencyOption(1))
	write(lw)
	claim := binary.AppendUvarint(nil, 1<<30)
	return map[string]struct {
		c   Codec
		enc []byte
	}{
		"gzip":                   {Gzip, gz.Bytes()},
		"zstd":                   {Zstd, zs.Bytes()},
		"lz4":                    {LZ4, lz.Bytes()},
		"raw snappy":             {Snappy, snappy.Encode(nil, make([]byte, 128<<20))},
		"raw snappy that lies":   {Snappy, append(claim, make([]byte, 1000)...)},
		"xerial block that lies": {Snappy, append(append(xerial(), 0, 0, 3, 0xed), append(claim, make([]byte, 1000)...)...)},
		"zstd size that lies":    {Zstd, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0x40, 0, 0, 0, 0}, make([]byte, 1000)...)},
	}
}

func TestBombsFailBeforeTheyTakeTheirMemory(t *testing.T) {
	for name, bomb := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			const limit = 4 << 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := decompress(nil, bomb.c, bomb.enc, limit)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("inflated")
			}
			// The sum of all buffers the growing output went through.
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
				t.Fatalf("%d bytes were allocated for %d", took, len(bomb.enc))
			}
		})
	}
}

func TestABombInABatchIsTooLarge(t *testing.T) {
	records := bytes.Repeat(rawRecord(ints(0, 0, 0, -1, -1, 0)), 10<<20)
	for _, c := range []Codec{Gzip, Zstd} {
		h := plainHeader(1)
		h.Attributes = int16(c)
		batch := rawBatch(h, squeeze(t, c, records))
		_, err := ValidateProduced(batch, ProduceRules{Deep: true})
		wantInvalid(t, err, TooLarge, -1)
		err = ForEach(batch, DefaultLimits(), func(*Record) error { return nil })
		wantInvalid(t, err, TooLarge, -1)
		if _, err = ValidateProduced(batch, ProduceRules{}); err != nil {
			t.Fatalf("a shallow check opened the batch: %v", err)
		}
	}
}

func TestSnappyIsReadRawAndAsJavaFramesIt(t *testing.T) {
	want := []byte("first block, second block")
	for name, enc := range map[string][]byte{
		"raw":        snappy.Encode(nil, want),
		"one block":  xerial(want),
		"two blocks": xerial(want[:12], want[12:]),
	} {
		got, err := decompress(nil, Snappy, enc, 1<<20)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestFramesThatLieAreRefused(t *testing.T) {
	lz := squeeze(t, LZ4, []byte("some records"))
	lz[4] |= lz4DictID
	for name, c := range map[string]struct {
		c   Codec
		enc []byte
	}{
		"xerial header cut":            {Snappy, xerialMagic},
		"xerial block length cut":      {Snappy, append(xerial(), 0, 0)},
		"xerial block past the end":    {Snappy, append(xerial(), 0, 0, 0, 9, 1)},
		"xerial block length 2^32-1":   {Snappy, append(xerial(), 255, 255, 255, 255, 1)},
		"xerial block empty":           {Snappy, append(xerial(), 0, 0, 0, 0)},
		"lz4 with dictionary":          {LZ4, lz},
		"lz4 legacy frame":             {LZ4, []byte{0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0}},
		"zstd with dictionary":         {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0}},
		"zstd window of a gibibyte":    {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 1, 0, 0}},
		"zstd window of two to the 41": {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 255, 1, 0, 0}},
		"gzip of nothing":              {Gzip, nil},
		"snappy of nothing":            {Snappy, nil},
		"lz4 of nothing":               {LZ4, nil},
		"zstd of nothing":              {Zstd, nil},
	} {
		_, err := decompress(nil, c.c, c.enc, 1<<20)
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		wantInvalid(t, err, Corrupt, -1)
	}
	_, err := decompress(nil, 5, nil, 1<<20)
	wantInvalid(t, err, UnsupportedCodec, -1)
}

func TestZstdWithoutContentSizeIsReadHoweverWellItShrank(t *testing.T) {
	var enc bytes.Buffer
	w, err := zstd.NewWriter(&enc)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3<<20)
	for at := 0; at < len(want); at += 1000 {
		_, _ = w.Write(want[at:min(at+1000, len(want))])
	}
	_ = w.Close()
	got, bad := decompress(nil, Zstd, enc.Bytes(), 4<<20)
	if bad != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), bad)
	}
}
