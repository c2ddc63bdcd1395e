package native_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// logOf is a partition whose log a test writes: a word a batch.
//
//	a      of nobody          +7:a   of producer 7's transaction
//	7!     7's commit marker  7?     7's abort marker
type logOf struct {
	storageclient.Storage
	t       *testing.T
	batches [][]byte
	end     int64 // high watermark
	stable  int64 // last stable offset
	aborted []storageclient.AbortedTransaction
	asked   []bool // for committed records, of the calls
}

func newLog(t *testing.T, words string) *logOf {
	l := &logOf{t: t, stable: -1}
	open := map[int64]int64{}
	for word := range strings.FieldsSeq(words) {
		var batch []byte
		pid := int64(word[0] - '0')
		switch {
		case strings.HasSuffix(word, "!") || strings.HasSuffix(word, "?"):
			c := record.Control{Type: record.Commit, ProducerID: pid}
			if strings.HasSuffix(word, "?") {
				c.Type = record.Abort
				l.aborted = append(l.aborted, storageclient.AbortedTransaction{ProducerID: pid, FirstOffset: open[pid]})
			}
			delete(open, pid)
			batch = record.ControlBatch(c)
		default:
			opts := record.BuilderOptions{ProducerID: record.NoProducerID}
			if strings.HasPrefix(word, "+") {
				pid = int64(word[1] - '0')
				opts = record.BuilderOptions{ProducerID: pid, Transactional: true}
				if _, is := open[pid]; !is {
					open[pid] = l.end
				}
				word = word[3:]
			}
			b := record.NewBuilder(opts)
			for _, c := range word {
				b.Append(&record.Record{Timestamp: 1, Value: []byte(string(c))})
			}
			var err error
			if batch, err = b.Build(nil); err != nil {
				t.Fatal(err)
			}
		}
		record.SetBaseOffset(batch, l.end)
		h, err := record.ParseHeader(batch)
		if err != nil {
			t.Fatal(err)
		}
		l.batches, l.end = append(l.batches, batch), h.NextOffset()
	}
	l.stable = l.end
	for _, first := range open {
		l.stable = min(l.stable, first)
	}
	slices.SortFunc(l.aborted, func(a, b storageclient.AbortedTransaction) int { return int(a.FirstOffset - b.FirstOffset) })
	return l
}

func (l *logOf) Fetch(_ context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	resp := &storageclient.FetchResponse{}
	l.asked = append(l.asked, req.ReadCommitted)
	for _, p := range req.Partitions {
		r := storageclient.FetchResult{HighWatermark: l.end, LastStableOffset: l.stable}
		bound := l.end
		if req.ReadCommitted {
			bound = l.stable
		}
		for _, b := range l.batches {
			h, err := record.ParseHeader(b)
			if err != nil {
				l.t.Fatal(err)
			}
			if h.NextOffset() > p.Offset && h.BaseOffset < bound {
				r.Batches = append(r.Batches, b...)
			}
		}
		if req.ReadCommitted {
			r.Aborted = l.aborted
		}
		resp.Results = append(resp.Results, r)
	}
	return resp, nil
}

func (l *logOf) ListOffsets(_ context.Context, req *storageclient.ListOffsetsRequest) (*storageclient.ListOffsetsResponse, error) {
	resp := &storageclient.ListOffsetsResponse{}
	for _, p := range req.Partitions {
		r := storageclient.ListOffsetsResult{Timestamp: -1}
		if p.Timestamp == storageclient.Latest {
			r.Offset = l.end
			if req.ReadCommitted {
				r.Offset = l.stable
			}
		}
		resp.Results = append(resp.Results, r)
	}
	return resp, nil
}

var committedLogs = []struct {
	log                    string
	committed, uncommitted string
	next                   int64 // of a committed read
}{
	{"ab c", "abc", "abc", 3},
	{"+7:ab 7!", "ab", "ab", 3},
	{"+7:ab 7?", "", "ab", 3},
	{"+7:a x +7:b 7? +7:c 7!", "xc", "axbc", 6},
	{"+7:a +8:b 8! x 7? y", "bxy", "abxy", 6},
	{"+7:a 7? +8:b +7:c 8? 7! z", "cz", "abcz", 7},
	{"x +7:a y +8:b 8!", "x", "xayb", 1}, // 7 is open
	{"+7:a 7? +7:b 7? q +7:c", "q", "abqc", 5},
}

func TestCommittedReadsSeeNothingThatIsOpenOrAborted(t *testing.T) {
	for _, c := range committedLogs {
		inTransactions(t, func(x *transactional) {
			l := newLog(t, c.log)
			x.node.Storage = l
			for _, committed := range []bool{true, false} {
				want, next := c.uncommitted, l.end
				if committed {
					want, next = c.committed, c.next
				}
				for _, batches := range []bool{false, true} {
					resp, err := x.Fetch(x.call(), &moldauv1.FetchRequest{Topic: "t", ReadCommitted: committed, AsBatches: batches})
					if err != nil {
						x.Fatal(err)
					}
					if got := x.valuesOf(resp.GetRecords(), resp.GetRecordBatches()); got != want || resp.GetNextOffset() != next || resp.GetLastStableOffset() != l.stable {
						x.Errorf("%s, committed %v, batches %v: %q and then %d, want %q and %d", c.log, committed, batches, got, resp.GetNextOffset(), want, next)
					}
					x.stream(c.log, committed, batches, want, next)
				}
			}
			if l.asked[0] != true || l.asked[len(l.asked)-1] != false {
				x.Errorf("asked %v", l.asked)
			}
		})
	}
}

// stream reads the same by a stream to its end.
func (x *transactional) stream(log string, committed, batches bool, want string, next int64) {
	x.Helper()
	got, caught := "", int64(-1)
	err := x.Read(x.call(), &moldauv1.ReadRequest{
		Topics: []*moldauv1.ReadTopic{{Topic: "t", Partitions: []*moldauv1.ReadPartition{{}}}}, UntilEnd: true, ReadCommitted: committed, AsBatches: batches,
	}, func(f *moldauv1.ReadResponse) error {
		got += x.valuesOf(f.GetRecords().GetRecords(), f.GetRecords().GetRecordBatches())
		if c := f.GetCaughtUp(); c != nil {
			caught = c.GetNextOffset()
		}
		return nil
	}, nil)
	if err != nil || got != want || caught != next {
		x.Errorf("%s, a stream, committed %v, batches %v: %q and caught up at %d, %v, want %q at %d", log, committed, batches, got, caught, err, want, next)
	}
}

func (x *transactional) valuesOf(records []*moldauv1.Record, batches []byte) (values string) {
	x.Helper()
	for _, r := range records {
		values += string(r.GetValue())
	}
	for len(batches) > 0 {
		batch, rest, h, err := record.Next(batches)
		if err != nil {
			x.Fatal(err)
		}
		if batches = rest; h.Control() {
			continue
		}
		if err := record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
			values += string(r.Value)
			return nil
		}); err != nil {
			x.Fatal(err)
		}
	}
	return values
}

func TestTheEndOfACommittedReadIsWhereAllIsDecided(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		l := newLog(t, "abc +7:d e")
		x.node.Storage = l
		for committed, want := range map[bool]int64{true: 3, false: 5} {
			resp, err := x.ListOffsets(x.call(), &moldauv1.ListOffsetsRequest{
				Topic: "t", Partitions: []int32{0}, Position: &moldauv1.Position{At: &moldauv1.Position_End{End: true}}, ReadCommitted: committed,
			})
			if err != nil || resp.GetOffsets()[0].GetOffset() != want {
				x.Errorf("committed %v: %v, %v", committed, resp, err)
			}
		}
		// A place beyond it is not out of range: the log is there.
		resp, err := x.Fetch(x.call(), &moldauv1.FetchRequest{Topic: "t", ReadCommitted: true, Position: &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: 4}}})
		if err != nil || len(resp.GetRecords()) > 0 {
			x.Errorf("got %v, %v", resp, err)
		}
	})
}
