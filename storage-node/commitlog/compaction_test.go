package commitlog

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// keyed builds a batch; a value "-" is a tombstone.
func keyed(t testing.TB, opts record.BuilderOptions, pairs ...string) []byte {
	t.Helper()
	b := record.NewBuilder(opts)
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		r := record.Record{Timestamp: noon.UnixMilli(), Key: []byte(key)}
		if value != "-" {
			r.Value = []byte(value)
		}
		b.Append(&r)
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func put(t testing.TB, l *Log, batch []byte) record.Header {
	t.Helper()
	record.SetBaseOffset(batch, l.EndOffset())
	record.SetLeaderEpoch(batch, 0)
	h, err := record.ParseHeader(batch)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(batch, h, noon); err != nil {
		t.Fatal(err)
	}
	return h
}

func producer(id int64, sequence int32, transactional bool) record.BuilderOptions {
	return record.BuilderOptions{ProducerID: id, BaseSequence: sequence, Transactional: transactional}
}

// kept is a record as a reader of the log sees it.
type kept struct {
	key, value string
	offset     int64
}

// records returns what the log holds, and the headers of its batches.
func records(t testing.TB, l *Log) (all []kept, headers []record.Header) {
	t.Helper()
	for from := l.StartOffset(); from < l.EndOffset(); {
		b, err := l.Read(from, l.EndOffset(), 1<<20, true, nil)
		if err != nil {
			t.Fatalf("read at %d: %v", from, err)
		}
		if len(b) == 0 {
			break // the rest was compacted away
		}
		for len(b) > 0 {
			batch, rest, h, err := record.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			headers = append(headers, h)
			b, from = rest, h.NextOffset()
			if h.Control() {
				continue
			}
			err = record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
				value := string(r.Value)
				if r.Value == nil {
					value = "-"
				}
				all = append(all, kept{string(r.Key), value, r.Offset})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return all, headers
}

func fold(all []kept) map[string]string {
	m := map[string]string{}
	for _, r := range all {
		if m[r.key] = r.value; r.value == "-" {
			delete(m, r.key)
		}
	}
	return m
}

func compact(t testing.TB, l *Log, now time.Time) CompactStats {
	t.Helper()
	stats, err := Compact(l, CompactOptions{Now: now, DeleteRetention: time.Hour, Bound: l.EndOffset()})
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// Invariant 29 against a map: whatever is written and however often the log is
// compacted, of each key the last committed value is there, at its offset.
func TestCompactedLogFoldsToTheSameMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewMemory()
		l := open(t, fs, small)
		model := map[string]kept{}    // committed
		pending := map[int64][]kept{} // by producer
		sequence := map[int64]int32{}
		written := map[int64]string{}
		now := noon
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			id := rapid.Int64Range(0, 2).Draw(rt, "producer")
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				if len(pending) == 0 {
					compact(t, l, now)
				}
			case 1:
				if err := l.Roll(); err != nil {
					rt.Fatal(err)
				}
			case 2:
				now = now.Add(40 * time.Minute)
			case 3, 4:
				if _, open := pending[id]; !open {
					continue
				}
				kind := record.Commit
				if rapid.Bool().Draw(rt, "abort") {
					kind = record.Abort
				}
				put(t, l, record.ControlBatch(record.Control{Type: kind, ProducerID: id, Timestamp: noon.UnixMilli()}))
				for _, r := range pending[id] {
					if kind == record.Commit && model[r.key].offset <= r.offset {
						model[r.key] = r
					}
				}
				delete(pending, id)
			default:
				opts := record.DefaultBuilderOptions()
				tx := id > 0 && rapid.Bool().Draw(rt, "transactional")
				if _, open := pending[id]; tx || open {
					opts = producer(id, sequence[id], true)
					if id == 0 {
						continue
					}
				}
				opts.Codec = rapid.SampledFrom([]record.Codec{record.None, record.None, record.LZ4, record.Zstd}).Draw(rt, "codec")
				pairs := rapid.SliceOfN(rapid.StringMatching("[a-d]=([0-9]{1,3}|-)"), 1, 4).Draw(rt, "pairs")
				h := put(t, l, keyed(t, opts, pairs...))
				for i, p := range pairs {
					key, value, _ := strings.Cut(p, "=")
					r := kept{key, value, h.BaseOffset + int64(i)}
					written[r.offset] = p
					if h.Transactional() {
						pending[id] = append(pending[id], r)
					} else {
						model[key] = r
					}
				}
				sequence[id] += int32(len(pairs))
			}
		}
		for id := range pending {
			put(t, l, record.ControlBatch(record.Control{Type: record.Abort, ProducerID: id, Timestamp: noon.UnixMilli()}))
		}
		end := l.EndOffset()
		compact(t, l, now)
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
		l = open(t, fs, small)
		if l.EndOffset() != end {
			rt.Fatalf("the log ends at %d, want %d", l.EndOffset(), end)
		}
		all, _ := records(t, l)
		byOffset := map[int64]kept{}
		for _, r := range all {
			if written[r.offset] != r.key+"="+r.value {
				rt.Fatalf("offset %d holds %s=%s, written was %s", r.offset, r.key, r.value, written[r.offset])
			}
			byOffset[r.offset] = r
		}
		for key, r := range model {
			if byOffset[r.offset] != r && r.value != "-" {
				rt.Fatalf("the last value of %s, %q at offset %d, is gone", key, r.value, r.offset)
			}
		}
	})
}

func TestCompactionMergesSegmentsAndKeepsTheLastOfEachKey(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	for i := range 200 {
		put(t, l, keyed(t, record.DefaultBuilderOptions(), fmt.Sprintf("k%d=%d", i%7, i)))
	}
	before, _ := records(t, l)
	count := l.SegmentCount()
	stats := compact(t, l, noon.Add(time.Minute))
	after, _ := records(t, l)
	if l.SegmentCount() >= count || stats.BytesAfter >= stats.BytesBefore || len(after) >= len(before)/2 {
		t.Fatalf("%d segments of %d, %d records of %d, %+v", l.SegmentCount(), count, len(after), len(before), stats)
	}
	if !maps.Equal(fold(before), fold(after)) {
		t.Fatalf("folds to %v, want %v", fold(after), fold(before))
	}
	if again := compact(t, l, noon.Add(time.Minute)); again.SegmentsCleaned != 0 {
		t.Fatalf("with nothing new it cleaned again: %+v", again)
	}
	if st, ok, err := l.OffsetForTimestamp(noon.UnixMilli(), l.EndOffset()); err != nil || !ok || st.Offset != after[0].offset {
		t.Fatalf("by time: %+v %v %v, want %d", st, ok, err, after[0].offset)
	}
}

// rolled puts the batches into sealed segments, with one more batch after.
func rolled(t testing.TB, l *Log, batches ...[]byte) {
	t.Helper()
	for _, b := range batches {
		put(t, l, b)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	put(t, l, keyed(t, record.DefaultBuilderOptions(), "tail=1"))
}

func TestTombstonesStayUntilTheirHorizon(t *testing.T) {
	l := open(t, vfs.NewMemory(), Config{})
	plain := record.DefaultBuilderOptions()
	rolled(t, l, keyed(t, plain, "a=1", "b=1"), keyed(t, plain, "a=-"))
	holds := func() bool {
		all, _ := records(t, l)
		return slices.Contains(all, kept{"a", "-", 2})
	}
	for _, at := range []struct {
		minutes int
		want    bool
	}{{0, true}, {59, true}, {61, false}} {
		compact(t, l, noon.Add(time.Duration(at.minutes)*time.Minute))
		if holds() != at.want {
			t.Fatalf("after %d minutes the tombstone is there: %v", at.minutes, holds())
		}
	}
	if all, _ := records(t, l); fmt.Sprint(fold(all)) != "map[b:1 tail:1]" {
		t.Errorf("left is %v", all)
	}
}

func TestTheLastBatchOfAProducerStaysWithoutRecords(t *testing.T) {
	l := open(t, vfs.NewMemory(), Config{})
	rolled(t, l, keyed(t, producer(7, 0, false), "a=1"), keyed(t, producer(7, 1, false), "a=2"), keyed(t, producer(8, 0, false), "a=3"))
	put(t, l, keyed(t, producer(8, 1, false), "z=1"))
	compact(t, l, noon)
	_, headers := records(t, l)
	if len(headers) != 4 || headers[0].ProducerID != 7 || headers[0].Count != 0 || headers[0].LastSequence() != 1 || headers[0].LastOffset() != 1 {
		t.Fatalf("headers %+v", headers)
	}
	forget := CompactOptions{Now: noon, Bound: l.EndOffset(), KeepProducer: func(int64) bool { return false }}
	l.horizon, l.cleanEnd = 0, 0
	if _, err := Compact(l, forget); err != nil {
		t.Fatal(err)
	}
	if _, headers = records(t, l); headers[0].ProducerID != 8 {
		t.Fatalf("headers %+v", headers)
	}
}

func TestAbortedRecordsAndTheirMarkerGo(t *testing.T) {
	l := open(t, vfs.NewMemory(), Config{})
	marker := func(id int64, kind record.ControlType) []byte {
		return record.ControlBatch(record.Control{Type: kind, ProducerID: id, Timestamp: noon.UnixMilli()})
	}
	plain := record.DefaultBuilderOptions()
	rolled(t, l,
		keyed(t, plain, "a=1"),
		keyed(t, producer(1, 0, true), "a=2"), marker(1, record.Abort),
		keyed(t, producer(2, 0, true), "b=1"), marker(2, record.Commit),
	)
	put(t, l, keyed(t, producer(1, 1, true), "c=1"))
	put(t, l, marker(1, record.Commit))
	put(t, l, keyed(t, producer(2, 1, true), "c=2"))
	put(t, l, marker(2, record.Commit))
	for _, at := range []struct {
		minutes int
		markers int
	}{{0, 4}, {61, 3}} {
		compact(t, l, noon.Add(time.Duration(at.minutes)*time.Minute))
		all, headers := records(t, l)
		if fmt.Sprint(fold(all)) != "map[a:1 b:1 c:2 tail:1]" {
			t.Fatalf("folds to %v", fold(all))
		}
		n := 0
		for _, h := range headers {
			if h.Control() {
				n++
			}
		}
		if n != at.markers {
			t.Fatalf("after %d minutes %d markers, want %d", at.minutes, n, at.markers)
		}
	}
}

func TestCompactionLeavesWhatIsYoungOrUnstable(t *testing.T) {
	l := open(t, vfs.NewMemory(), Config{})
	plain := record.DefaultBuilderOptions()
	rolled(t, l, keyed(t, plain, "a=1"), keyed(t, plain, "a=2"))
	for _, o := range []CompactOptions{
		{Now: noon.Add(time.Second), MinLag: time.Minute, Bound: l.EndOffset()},
		{Now: noon.Add(time.Hour), Bound: 1},
	} {
		if stats, err := Compact(l, o); err != nil || stats.SegmentsCleaned != 0 {
			t.Fatalf("%+v: %+v, %v", o, stats, err)
		}
	}
}

func TestCrashAtEveryStepOfACompaction(t *testing.T) {
	for step := 1; ; step++ {
		whole := false
		for seed := range uint64(10) {
			fs := vfs.NewMemory()
			l := open(t, fs, small)
			for i := range 60 {
				put(t, l, keyed(t, producer(int64(i%3), int32(i), false), fmt.Sprintf("k%d=%d", i%5, i), fmt.Sprintf("own%d=%d", i, i)))
			}
			if _, err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			before, _ := records(t, l)
			end := l.EndOffset()
			fs.CrashAtStep(fs.Steps() + step)
			_, err := Compact(l, CompactOptions{Now: noon, DeleteRetention: time.Hour, Bound: end})
			if whole = err == nil; err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatal(err)
			}
			fs.PowerLoss(rand.New(rand.NewPCG(seed, uint64(step))))
			what := fmt.Sprintf("crash at step %d, seed %d", step, seed)
			for range 2 {
				l, _, err = Open(fs, "p", small, NewFileCache(4))
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				after, _ := records(t, l)
				if l.EndOffset() != end || !maps.Equal(fold(before), fold(after)) {
					t.Fatalf("%s: ends at %d, want %d; %d records fold to %d, want %d", what, l.EndOffset(), end, len(after), len(fold(after)), len(fold(before)))
				}
				compact(t, l, noon)
				put(t, l, keyed(t, record.DefaultBuilderOptions(), "k0=last"))
				if end, err = l.Sync(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				before = append(before, kept{"k0", "last", end - 1})
			}
			names, err := fs.List("p")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasSuffix(name, swapSuffix) || strings.HasSuffix(name, cleanedSuffix) {
					t.Fatalf("%s: %s is left", what, name)
				}
			}
		}
		if whole {
			return
		}
	}
}
