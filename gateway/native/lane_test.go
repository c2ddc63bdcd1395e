package native_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/native"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// far is a storage node behind a network that delays, reorders and loses both
// requests and answers.
type far struct {
	*gatewaytest.Storage

	mu     sync.Mutex
	random *rand.Rand
	flying map[int64]int // by producer
	most   int
	lose   int // one of so many is lost, each way; 0: none
	refuse func() error
}

func (f *far) delay() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(f.random.IntN(5000)) * time.Microsecond, f.lose > 0 && f.random.IntN(f.lose) == 0
}

func (f *far) fly(producer int64, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flying[producer] += n
	f.most = max(f.most, f.flying[producer])
}

func (f *far) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	h, err := record.ParseHeader(req.Partitions[0].Batch)
	if err != nil {
		return nil, err
	}
	f.fly(h.ProducerID, 1)
	defer f.fly(h.ProducerID, -1)
	lost := errcode.New(errcode.NodeUnavailable, "lost")
	there, gone := f.delay()
	time.Sleep(there)
	if gone {
		return nil, lost
	}
	if f.refuse != nil {
		if err := f.refuse(); err != nil {
			return &storageclient.AppendResponse{Results: []storageclient.AppendResult{{Err: err, BaseOffset: -1}}}, nil
		}
	}
	resp, err := f.Storage.Append(ctx, req)
	back, gone := f.delay()
	time.Sleep(back)
	if gone {
		return nil, lost
	}
	return resp, err
}

// newFar returns a server with topic "t" of one partition on a far node.
func newFar(t *testing.T, seed uint64) (*native.Server, *far, storageclient.PartitionID) {
	t.Helper()
	meta := gatewaytest.NewMetadata()
	f := &far{Storage: gatewaytest.NewStorage(clock.Real()), random: rand.New(rand.NewPCG(seed, 1)), flying: map[int64]int{}}
	s, err := native.NewServer(native.Config{
		ProduceTimeout: time.Minute, MaxInFlightBytes: 64 << 20, StreamInFlightBytes: 4 << 20, MaxRequestBytes: 1 << 20, HeartbeatInterval: time.Second,
	}, native.Deps{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: meta, Nodes: gatewaytest.NewNodes(f)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := meta.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{
		Name: "t", PartitionCount: 1, Configs: map[string]string{"max.message.bytes": "50000"}, // so that there are many batches
	}); err != nil {
		t.Fatal(err)
	}
	return s, f, storageclient.PartitionID{Topic: meta.View().Topics["t"].ID}
}

// sending is a ProduceStream whose caller sends without waiting.
type sending struct {
	requests []*moldauv1.ProduceRequest
	at       int
	answers  []*moldauv1.ProduceStreamResponse
	free     func() // of each request; nil: nothing
}

func (s *sending) Receive() (*moldauv1.ProduceStreamRequest, func(), error) {
	if s.at == len(s.requests) {
		return nil, nil, io.EOF
	}
	s.at++
	return &moldauv1.ProduceStreamRequest{CorrelationId: int64(s.at - 1), Request: s.requests[s.at-1]}, s.free, nil
}

func (s *sending) Send(r *moldauv1.ProduceStreamResponse) error {
	s.answers = append(s.answers, r)
	return nil
}

// own returns n requests of a caller whose records have the gateway's producer:
// about 16 KiB each.
func own(caller, n int) (out []*moldauv1.ProduceRequest) {
	for i := range n {
		var records []*moldauv1.Record
		for j := range 4 {
			records = append(records, &moldauv1.Record{Key: make([]byte, 4<<10), Value: fmt.Appendf(nil, "%d/%d", caller, 4*i+j)})
		}
		out = append(out, &moldauv1.ProduceRequest{Topic: "t", Records: records})
	}
	return out
}

// batches returns n requests of a caller that builds its batches itself.
func batches(t *testing.T, caller, n int, seq int32) (out []*moldauv1.ProduceRequest) {
	t.Helper()
	partition := int32(0)
	for i := range n {
		b := record.NewBuilder(record.BuilderOptions{ProducerID: int64(1_000_000 + caller), BaseSequence: seq})
		for j := range 4 {
			b.Append(&record.Record{Timestamp: 1, Value: fmt.Appendf(nil, "%d/%d", caller, 4*i+j)})
		}
		batch, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		seq = (seq + 4) & 0x7fffffff
		out = append(out, &moldauv1.ProduceRequest{Topic: "t", Partition: &partition, RecordBatch: batch})
	}
	return out
}

// produceAll sends each caller's requests on a stream of its own.
func produceAll(t *testing.T, s *native.Server, callers ...[]*moldauv1.ProduceRequest) []*sending {
	t.Helper()
	streams := make([]*sending, len(callers))
	var wg sync.WaitGroup
	for i, requests := range callers {
		streams[i] = &sending{requests: requests}
		wg.Go(func() {
			if err := s.ProduceStream(t.Context(), streams[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.Close()
	return streams
}

// TestABatchIsGivenBackOnceAndRecordsNever: a request of records becomes several
// entries, which end at once; what they were read from is nobody's by then.
func TestABatchIsGivenBackOnceAndRecordsNever(t *testing.T) {
	s, _, _ := newFar(t, 1)
	large := make([]*moldauv1.Record, 40)
	for i := range large {
		large[i] = &moldauv1.Record{Value: make([]byte, 10_000)}
	}
	b := record.NewBuilder(record.DefaultBuilderOptions())
	b.Append(&record.Record{Value: []byte("one")})
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request *moldauv1.ProduceRequest
		want    int64
	}{
		"records":   {&moldauv1.ProduceRequest{Topic: "t", Records: large}, 0},
		"a batch":   {&moldauv1.ProduceRequest{Topic: "t", Partition: new(int32), RecordBatch: batch}, 1},
		"a refusal": {&moldauv1.ProduceRequest{Topic: "t", Partition: new(int32), RecordBatch: batch[:9]}, 0},
	} {
		var freed atomic.Int64
		stream := &sending{requests: []*moldauv1.ProduceRequest{c.request}, free: func() { freed.Add(1) }}
		if err := s.ProduceStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		if got := freed.Load(); got != c.want {
			t.Errorf("%s: given back %d times, want %d", name, got, c.want)
		}
	}
	s.Close()
}

// inOrder requires that the log has each caller's records that were answered
// without an error once, in order, and where the answers say; and none twice.
func inOrder(t *testing.T, values []string, streams []*sending) {
	t.Helper()
	seen := map[string]int{}
	for at, v := range values {
		if before, twice := seen[v]; twice {
			t.Errorf("%s is at %d and at %d", v, before, at)
		}
		seen[v] = at
	}
	for caller, s := range streams {
		last := int64(-1)
		for i, a := range s.answers {
			res := a.GetResponse().GetResults()
			if len(res) != 1 || res[0].GetError() != nil {
				continue
			}
			if res[0].GetBaseOffset() <= last {
				t.Errorf("caller %d: offset %d after %d", caller, res[0].GetBaseOffset(), last)
			}
			last = res[0].GetBaseOffset()
			if got, want := values[last], fmt.Sprintf("%d/%d", caller, 4*i); got != want {
				t.Errorf("at %d stands %s, %s was told to", last, got, want)
			}
		}
	}
}

func failures(streams []*sending) (n int) {
	for _, s := range streams {
		for _, a := range s.answers {
			if a.GetError() != nil || a.GetResponse().GetResults()[0].GetError() != nil {
				n++
			}
		}
	}
	return n
}

// TestBatchesUnderWayTogetherStayInOrder over a network that reorders and loses
// calls: of the gateway's own producer and of clients' producers, five at once
// and no more, and everything arrives, once.
func TestBatchesUnderWayTogetherStayInOrder(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			s, node, id := newFar(t, seed)
			node.lose = []int{0, 20, 6}[seed%3]
			streams := produceAll(t, s, own(0, 60), own(1, 60), batches(t, 2, 60, 0), batches(t, 3, 60, 0x7fffffff-99))
			values := node.Values(id)
			if len(values) != 4*4*60 || failures(streams) > 0 {
				t.Errorf("seed %d: %d records, %d failures", seed, len(values), failures(streams))
			}
			inOrder(t, values, streams)
			if node.most != 5 {
				t.Errorf("seed %d: %d batches of one producer under way at once", seed, node.most)
			}
		})
	}
}

// TestWhatFollowsAFailedBatchIsAppendedAnyway: a batch that is refused for good
// costs its own callers alone; those behind it, which storage refuses for the
// gap, go out again in order.
func TestWhatFollowsAFailedBatchIsAppendedAnyway(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			s, node, id := newFar(t, seed)
			var mu sync.Mutex
			calls := 0
			node.refuse = func() error {
				mu.Lock()
				defer mu.Unlock()
				if calls++; calls%7 == 3 {
					return errcode.New(errcode.DiskFull, "no room for this one")
				}
				return nil
			}
			if seed%2 == 1 {
				node.lose = 10
			}
			streams := produceAll(t, s, own(0, 60), own(1, 60))
			inOrder(t, node.Values(id), streams)
			if n := failures(streams); n == 0 || n == 120 {
				t.Errorf("seed %d: %d of 120 produces failed", seed, n)
			}
			for _, stream := range streams {
				for _, a := range stream.answers {
					e := a.GetResponse().GetResults()[0].GetError()
					fits := e == nil || e.GetReason() == string(errcode.DiskFull)
					if !fits && !(node.lose > 0 && e.GetReason() == string(errcode.RequestTimedOut)) {
						t.Errorf("seed %d: %v", seed, e)
					}
				}
			}
		})
	}
}
