package record

import (
	"math"
	"testing"
)

// rawRecord is a record of these parts, taken as they are, behind its length.
func rawRecord(parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(appendVarint(nil, int64(len(body))), body...)
}

func ints(vs ...int64) (out []byte) {
	for _, v := range vs {
		out = appendVarint(out, v)
	}
	return out
}

func TestLeaderRefusesHeadersAClientMayNotSend(t *testing.T) {
	idempotent := func(f func(h *Header)) func(h *Header) {
		return func(h *Header) {
			h.ProducerID, h.ProducerEpoch, h.BaseSequence = 1, 0, 0
			f(h)
		}
	}
	for name, c := range map[string]struct {
		spoil func(h *Header)
		want  Reason
	}{
		"no record":                 {func(h *Header) { h.Count, h.LastOffsetDelta = 0, 0 }, InvalidRecord},
		"gap in the offsets":        {func(h *Header) { h.LastOffsetDelta = 1 }, InvalidRecord},
		"control batch":             {func(h *Header) { h.Attributes = bitControl }, InvalidRecord},
		"codec 5":                   {func(h *Header) { h.Attributes = 5 }, UnsupportedCodec},
		"codec 7":                   {func(h *Header) { h.Attributes = 7 }, UnsupportedCodec},
		"append time":               {func(h *Header) { h.Attributes = bitLogAppendTime }, InvalidTimestamp},
		"delete horizon":            {func(h *Header) { h.Attributes = bitDeleteHorizon }, InvalidRecord},
		"bit 7":                     {func(h *Header) { h.Attributes = 1 << 7 }, InvalidRecord},
		"bit 15":                    {func(h *Header) { h.Attributes = math.MinInt16 }, InvalidRecord},
		"transactional, no pid":     {func(h *Header) { h.Attributes = bitTransactional }, InvalidRecord},
		"producer id -2":            {func(h *Header) { h.ProducerID = -2 }, InvalidRecord},
		"pid with sequence -1":      {idempotent(func(h *Header) { h.BaseSequence = -1 }), InvalidRecord},
		"pid with epoch -1":         {idempotent(func(h *Header) { h.ProducerEpoch = -1 }), InvalidRecord},
		"base timestamp -2":         {func(h *Header) { h.BaseTimestamp = -2 }, InvalidTimestamp},
		"max timestamp 2^63-1":      {func(h *Header) { h.MaxTimestamp = math.MaxInt64 }, InvalidTimestamp},
		"base timestamp too early":  {func(h *Header) { h.BaseTimestamp = 99 }, InvalidTimestamp},
		"count 2^31-1, few records": {func(h *Header) { h.Count, h.LastOffsetDelta = math.MaxInt32, math.MaxInt32-1 }, TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			h := plainHeader(1)
			c.spoil(&h)
			batch := rawBatch(h, rawRecord(ints(0, 0, 0, -1, -1, 0)))
			_, err := ValidateProduced(batch, ProduceRules{EarliestTimestamp: 100, LatestTimestamp: 2000})
			wantInvalid(t, err, c.want, -1)
		})
	}
}

func TestLeaderRefusesRecordsThatBreakTheFormat(t *testing.T) {
	good := rawRecord(ints(0, 0, 0, -1, -1, 0))
	for name, second := range map[string][]byte{
		"no bytes":                    {},
		"length -1":                   ints(-1),
		"length 0":                    ints(0),
		"length 2^31-1":               ints(math.MaxInt32),
		"length beyond int32":         ints(1 << 40),
		"attributes only":             rawRecord(ints(0)),
		"time delta cut":              rawRecord([]byte{0, 0x80}),
		"time delta of 11 bytes":      rawRecord([]byte{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}),
		"time delta overflows":        rawRecord(ints(0, math.MaxInt64, 1, -1, -1, 0)),
		"offset delta repeats":        rawRecord(ints(0, 0, 0, -1, -1, 0)),
		"offset delta negative":       rawRecord(ints(0, 0, -1, -1, -1, 0)),
		"offset delta skips":          rawRecord(ints(0, 0, 2, -1, -1, 0)),
		"offset delta beyond int32":   rawRecord(ints(0, 0, 1<<33, -1, -1, 0)),
		"key length -2":               rawRecord(ints(0, 0, 1, -2, -1, 0)),
		"key longer than batch":       rawRecord(ints(0, 0, 1, 1000, -1, 0)),
		"value longer than record":    rawRecord(ints(0, 0, 1, -1, 5, 0)),
		"header count -1":             rawRecord(ints(0, 0, 1, -1, -1, -1)),
		"header count 2^31-1":         rawRecord(ints(0, 0, 1, -1, -1, math.MaxInt32)),
		"header count 2^31":           rawRecord(ints(0, 0, 1, -1, -1, 1<<31)),
		"header key null":             rawRecord(ints(0, 0, 1, -1, -1, 1, -1, -1)),
		"header value beyond record":  rawRecord(ints(0, 0, 1, -1, -1, 1, 0, 9)),
		"bytes after the headers":     rawRecord(ints(0, 0, 1, -1, -1, 1, 0, -1, 0)),
		"bytes after no headers":      rawRecord(ints(0, 0, 1, -1, -1, 0, 0)),
		"record longer than its data": append(ints(9), ints(0, 0, 1, -1, -1, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			payload := append(append([]byte{}, good...), second...)
			batch := rawBatch(plainHeader(2), payload)
			_, err := ValidateProduced(batch, ProduceRules{})
			wantInvalid(t, err, InvalidRecord, 1)
			if name == "offset delta skips" {
				h := plainHeader(2)
				h.LastOffsetDelta = 2
				batch = rawBatch(h, payload)
				if got := collect(t, batch); got[1].Offset != 2 {
					t.Fatal("a reader must take the gap that compaction leaves")
				}
				return
			}
			err = ForEach(batch, DefaultLimits(), func(*Record) error { return nil })
			wantInvalid(t, err, InvalidRecord, 1)
		})
	}
}

func TestRecordCountMustMatchTheRecords(t *testing.T) {
	one, two := rawRecord(ints(0, 0, 0, -1, -1, 0)), rawRecord(ints(0, 0, 1, -1, -1, 0))
	batch := rawBatch(plainHeader(1), append(one, two...))
	_, err := ValidateProduced(batch, ProduceRules{})
	wantInvalid(t, err, InvalidRecord, -1)
	err = ForEach(batch, DefaultLimits(), func(*Record) error { return nil })
	wantInvalid(t, err, InvalidRecord, -1)
}

func TestCompactedTopicNamesTheRecordWithoutKey(t *testing.T) {
	records := someRecords()
	records[2].Key = nil
	for _, c := range allCodecs {
		batch := build(t, withCodec(c), records...)
		if _, err := ValidateProduced(batch, ProduceRules{Deep: true}); err != nil {
			t.Fatal(err)
		}
		_, err := ValidateProduced(batch, ProduceRules{RequireKeys: true})
		wantInvalid(t, err, InvalidRecord, 2)
	}
}

func TestTimestampOutOfBoundsNamesTheRecord(t *testing.T) {
	times := func(ts ...int64) []byte {
		var records []Record
		for _, ms := range ts {
			records = append(records, Record{Timestamp: ms})
		}
		return build(t, DefaultBuilderOptions(), records...)
	}
	rules := ProduceRules{EarliestTimestamp: 100, LatestTimestamp: 200}
	for _, ok := range [][]byte{times(100, 200), times(-1), times(150, -1)} {
		if _, err := ValidateProduced(ok, rules); err != nil {
			t.Fatal(err)
		}
	}
	_, err := ValidateProduced(times(150, 99), rules)
	wantInvalid(t, err, InvalidTimestamp, 1)
	_, err = ValidateProduced(times(150, 201), rules)
	wantInvalid(t, err, InvalidTimestamp, -1) // seen in the header before the walk
}

func TestMaxTimestampOfTheRecordsIsReturned(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	want, _ := ParseHeader(batch)
	SetMaxTimestamp(batch, 0)
	h, err := ValidateProduced(batch, ProduceRules{})
	if err != nil || h.MaxTimestamp != want.MaxTimestamp {
		t.Fatalf("got %d, %v; want %d", h.MaxTimestamp, err, want.MaxTimestamp)
	}
}

func TestBatchOverTheTopicsLimitIsTooLarge(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	if _, err := ValidateProduced(batch, ProduceRules{MaxBatchBytes: len(batch)}); err != nil {
		t.Fatal(err)
	}
	_, err := ValidateProduced(batch, ProduceRules{MaxBatchBytes: len(batch) - 1})
	wantInvalid(t, err, TooLarge, -1)
}

func TestBatchEmptiedByCompactionIsReadAsNothing(t *testing.T) {
	h := plainHeader(1)
	h.Count, h.LastOffsetDelta, h.Attributes = 0, 7, int16(Zstd)
	batch := rawBatch(h, nil)
	if h, err := Verify(batch); err != nil || h.NextOffset() != 8 {
		t.Fatalf("%+v: %v", h, err)
	}
	if got := collect(t, batch); len(got) != 0 {
		t.Fatalf("read %v", got)
	}
	_, err := ValidateProduced(batch, ProduceRules{})
	wantInvalid(t, err, InvalidRecord, -1)
}

func TestMarkersThatAreNoneAreRefused(t *testing.T) {
	other := ControlBatch(Control{Type: 2})
	_, err := ParseControl(other)
	wantInvalid(t, err, InvalidRecord, -1)
	_, err = ParseControl(build(t, DefaultBuilderOptions(), someRecords()...))
	wantInvalid(t, err, InvalidRecord, -1)
	h := plainHeader(1)
	h.Attributes = bitControl
	_, err = ParseControl(rawBatch(h, rawRecord(ints(0, 0, 0, 1), []byte{0}, ints(-1, 0))))
	wantInvalid(t, err, InvalidRecord, -1)
}

func TestHotPathsAllocateNothing(t *testing.T) {
	batch := build(t, DefaultBuilderOptions(), someRecords()...)
	lim := DefaultLimits()
	rules := ProduceRules{RequireKeys: true, LatestTimestamp: math.MaxInt64, Limits: lim}
	b := NewBuilder(DefaultBuilderOptions())
	records, dst := someRecords(), make([]byte, 0, 4096)
	for name, f := range map[string]func(){
		"ValidateProduced": func() { _, _ = ValidateProduced(batch, rules) },
		"Verify":           func() { _, _ = Verify(batch) },
		"ForEach":          func() { _ = ForEach(batch, lim, func(*Record) error { return nil }) },
		"Build": func() {
			b.Reset(DefaultBuilderOptions())
			for i := range records {
				b.Append(&records[i])
			}
			dst, _ = b.Build(dst[:0])
		},
	} {
		// A collection may empty a pool between runs: less than one is none.
		if n := testing.AllocsPerRun(200, f); n >= 1 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestBuilderRefusesWhatItCannotWrite(t *testing.T) {
	_, err := NewBuilder(DefaultBuilderOptions()).Build(nil)
	wantInvalid(t, err, InvalidRecord, -1)
	for _, opts := range []BuilderOptions{{Codec: 5}, {Codec: Gzip, Level: 10}, {Codec: LZ4, Level: -1}, {Codec: Zstd, Level: 23}} {
		b := NewBuilder(opts)
		b.Append(&Record{})
		if out, err := b.Build([]byte("kept")); err == nil || string(out) != "kept" {
			t.Errorf("%+v: %q, %v", opts, out, err)
		}
	}
}
