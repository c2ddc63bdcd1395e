package record

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeaderIsReadFromHeaderBatchOrMore(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	want, err := ParseHeader(batch)
	if err != nil || want.Size() != len(batch) || want.Count != 3 {
		t.Fatalf("%+v: %v", want, err)
	}
	for _, b := range [][]byte{batch[:HeaderSize], append(batch, "more"...)} {
		if got, err := ParseHeader(b); err != nil || got != want {
			t.Fatalf("%+v: %v", got, err)
		}
	}
	if _, err := ParseHeader(batch[:HeaderSize-1]); err != ErrPartial {
		t.Fatalf("60 bytes: %v", err)
	}
}

func TestImpossibleHeadersAreRefused(t *testing.T) {
	be := binary.BigEndian
	for name, c := range map[string]struct {
		spoil func(b []byte)
		want  Reason
	}{
		"length 48":               {func(b []byte) { be.PutUint32(b[atLength:], 48) }, Corrupt},
		"length -1":               {func(b []byte) { be.PutUint32(b[atLength:], math.MaxUint32) }, Corrupt},
		"length one over":         {func(b []byte) { b[atLength+3]++ }, Corrupt},
		"length one under":        {func(b []byte) { b[atLength+3]-- }, Corrupt},
		"length 2^31-1":           {func(b []byte) { be.PutUint32(b[atLength:], math.MaxInt32) }, Corrupt},
		"magic 0":                 {func(b []byte) { b[atMagic] = 0 }, InvalidRecord},
		"magic 1":                 {func(b []byte) { b[atMagic] = 1 }, InvalidRecord},
		"magic 3":                 {func(b []byte) { b[atMagic] = 3 }, Corrupt},
		"base offset -1":          {func(b []byte) { SetBaseOffset(b, -1) }, Corrupt},
		"base offset 2^63-1":      {func(b []byte) { SetBaseOffset(b, math.MaxInt64) }, Corrupt},
		"next offset overflows":   {func(b []byte) { SetBaseOffset(b, math.MaxInt64-2) }, Corrupt},
		"last offset delta -1":    {func(b []byte) { be.PutUint32(b[atLastDelta:], math.MaxUint32) }, Corrupt},
		"crc":                     {func(b []byte) { b[atCRC]++ }, Corrupt},
		"count -1":                {func(b []byte) { be.PutUint32(b[atCount:], math.MaxUint32); seal(b) }, Corrupt},
		"more records than delta": {func(b []byte) { be.PutUint32(b[atCount:], 4); seal(b) }, Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			batch := build(t, DefaultBuilderOptions(), someRecords()...)
			c.spoil(batch)
			_, err := Verify(batch)
			wantInvalid(t, err, c.want, -1)
		})
	}
}

func TestLastSequenceWrapsToZero(t *testing.T) {
	for _, c := range []struct{ base, delta, want int32 }{
		{0, 0, 0},
		{5, 4, 9},
		{math.MaxInt32, 0, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 1, 3, 1},
		{-1, 3, -1},
	} {
		if got := (Header{BaseSequence: c.base, LastOffsetDelta: c.delta}).LastSequence(); got != c.want {
			t.Errorf("%d + %d: got %d, want %d", c.base, c.delta, got, c.want)
		}
	}
}

func TestLeaderPatchesOffsetAndEpochOutsideTheCRC(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	SetBaseOffset(batch, 1<<40)
	SetLeaderEpoch(batch, 12)
	h, err := Verify(batch)
	if err != nil || h.LeaderEpoch != 12 || h.BaseOffset != 1<<40 || h.NextOffset() != 1<<40+3 {
		t.Fatalf("%+v: %v", h, err)
	}
}

func TestAppendTimeBecomesEveryRecordsTimestamp(t *testing.T) {
	batch := build(t, withCodec(LZ4), someRecords()...)
	SetLogAppendTime(batch, 42)
	if h, err := Verify(batch); err != nil || !h.LogAppendTime() || h.MaxTimestamp != 42 {
		t.Fatalf("%+v: %v", h, err)
	}
	for _, r := range collect(t, batch) {
		if r.Timestamp != 42 {
			t.Fatalf("record %d has timestamp %d", r.Offset, r.Timestamp)
		}
	}
}

func TestNextWalksBatchesToAPartialTail(t *testing.T) {
	one := build(t, DefaultBuilderOptions(), someRecords()...)
	two := build(t, withCodec(Zstd), someRecords()[0])
	for _, cut := range []int{1, HeaderSize - 1, HeaderSize, len(one) - 1} {
		b := append(append(append([]byte{}, one...), two...), one[:cut]...)
		var sizes []int
		var err error
		for err == nil {
			var batch []byte
			if batch, b, _, err = Next(b); err == nil {
				sizes = append(sizes, len(batch))
			}
		}
		if err != ErrPartial || len(b) != cut {
			t.Fatalf("cut %d: %v with %d bytes left", cut, err, len(b))
		}
		if diff := cmp.Diff([]int{len(one), len(two)}, sizes); diff != "" {
			t.Fatal(diff)
		}
	}
	if _, _, _, err := Next(nil); err != ErrPartial {
		t.Fatalf("nothing: %v", err)
	}
}

func TestCodecNamesRoundTrip(t *testing.T) {
	for _, c := range allCodecs {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%v: got %v, %v", c, got, err)
		}
	}
	_, err := ParseCodec("brotli")
	wantInvalid(t, err, UnsupportedCodec, -1)
}
