package storagenode

import (
	"testing"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// poll fetches in the background; the request names partitions of one offset.
func poll(t *testing.T, s storageclient.Storage, req *storageclient.FetchRequest) <-chan []storageclient.FetchResult {
	t.Helper()
	out := make(chan []storageclient.FetchResult, 1)
	go func() {
		resp, err := s.Fetch(t.Context(), req)
		if err != nil {
			t.Error(err)
			close(out)
			return
		}
		out <- resp.Results // never released: the test reads them
	}()
	return out
}

// awaitWaiter returns once n fetches or appends wait for p.
func awaitWaiters(t *testing.T, p *partition, n int) {
	t.Helper()
	for range 1_000_000 {
		p.waiting.mu.Lock()
		got := len(p.waiting.wants)
		p.waiting.mu.Unlock()
		if got == n {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
	t.Fatalf("nobody came to wait")
}

func TestLongPollAnswersOnceTheSumHasMinBytes(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 2, nil)
	s := c.start()
	one := len(batch(t, 1, "x"))
	got := poll(t, s, &storageclient.FetchRequest{MinBytes: 2 * one, MaxBytes: 1 << 20, MaxWaitMs: 1000, Partitions: []storageclient.FetchPartition{
		{PartitionID: pid(topic, 0), LeaderEpoch: -1, MaxBytes: 1 << 20},
		{PartitionID: pid(topic, 1), LeaderEpoch: -1, MaxBytes: 1 << 20},
	}})
	p, err := s.partition(pid(topic, 1))
	if err != nil {
		t.Fatal(err)
	}
	awaitWaiters(t, p, 1)
	mustAppend(t, s, pid(topic, 0), batch(t, 1, "a"))
	select {
	case <-got:
		t.Fatal("answered with half of MinBytes")
	default:
	}
	mustAppend(t, s, pid(topic, 1), batch(t, 1, "b"))
	r := <-got
	if len(r) != 2 || values(t, r[0].Batches)[0] != "a" || values(t, r[1].Batches)[0] != "b" {
		t.Fatalf("got %v", r)
	}
}

func TestLongPollEndsWithItsTimeAndWithTheNode(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	p, err := s.partition(id)
	if err != nil {
		t.Fatal(err)
	}
	req := &storageclient.FetchRequest{MinBytes: 1, MaxBytes: 1, MaxWaitMs: 500, Partitions: []storageclient.FetchPartition{{PartitionID: id, LeaderEpoch: -1, MaxBytes: 1}}}
	got := poll(t, s, req)
	awaitWaiters(t, p, 1)
	awaitTimers(c, 3) // heartbeat, retention, and the fetch
	c.clock.Advance(500 * time.Millisecond)
	if r := <-got; r[0].Err != nil || len(r[0].Batches) != 0 || r[0].HighWatermark != 0 {
		t.Fatalf("got %+v", r)
	}
	got = poll(t, s, req)
	awaitWaiters(t, p, 1)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-got
	if _, err := s.Fetch(t.Context(), &storageclient.FetchRequest{}); !errcode.Is(err, errcode.ShuttingDown) {
		t.Fatalf("a draining node answered: %v", err)
	}
	if last := c.meta.beats[len(c.meta.beats)-1]; !last.Draining || last.Ready {
		t.Fatalf("the controller was told %v", last)
	}
}

// awaitTimers returns once n timers wait on the clock.
func awaitTimers(c *cluster, n int) {
	for c.clock.Pending() < n {
		time.Sleep(10 * time.Microsecond)
	}
}

func TestOutOfRangeTellsTheRange(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, id, batch(t, 5, "x"))
	if _, err := s.DeleteRecords(t.Context(), &storageclient.DeleteRecordsRequest{Partitions: []storageclient.DeleteRecordsPartition{{PartitionID: id, BeforeOffset: 2}}}); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{1, 6, -7} {
		e := errcode.Of(fetchFrom(t, s, id, offset).Err)
		if e == nil || e.Reason != errcode.OffsetOutOfRange || e.Metadata["earliest_offset"] != "2" || e.Metadata["latest_offset"] != "5" {
			t.Errorf("offset %d: %v", offset, e)
		}
	}
	for _, offset := range []int64{2, 4, 5} {
		if r := fetchFrom(t, s, id, offset); r.Err != nil || r.LogStartOffset != 2 || (len(r.Batches) == 0) != (offset == 5) {
			t.Errorf("offset %d: %v, %d bytes", offset, r.Err, len(r.Batches))
		}
	}
}

func TestOnlyTheFirstBatchMayPassTheLimits(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 2, nil)
	s := c.start()
	for i := range int32(2) {
		mustAppend(t, s, pid(topic, i), batch(t, 1, "first"))
		mustAppend(t, s, pid(topic, i), batch(t, 1, "second"))
	}
	resp, err := s.Fetch(t.Context(), &storageclient.FetchRequest{MinBytes: 1, MaxBytes: 10, Partitions: []storageclient.FetchPartition{
		{PartitionID: pid(topic, 0), LeaderEpoch: -1, MaxBytes: 10}, {PartitionID: pid(topic, 1), LeaderEpoch: -1, MaxBytes: 10},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Release()
	if got := values(t, resp.Results[0].Batches); len(got) != 1 || got[0] != "first" {
		t.Fatalf("first partition gave %v", got)
	}
	if n := len(resp.Results[1].Batches); n != 0 {
		t.Fatalf("second partition gave %d bytes over the limit", n)
	}
}

func TestOffsetsAreFoundByTime(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	b := record.NewBuilder(record.BuilderOptions{Codec: record.Zstd, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	for i := range 4 {
		b.Append(&record.Record{Timestamp: noon.UnixMilli() + int64(i)*10})
	}
	zipped, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, id, zipped)
	mustAppend(t, s, id, batch(t, 1, "earlier"))
	at := noon.UnixMilli()
	for _, want := range []struct{ ask, offset, timestamp int64 }{
		{storageclient.Latest, 5, -1}, {storageclient.Earliest, 0, -1}, {storageclient.MaxTimestamp, 3, at + 30},
		{at + 11, 2, at + 20}, {at - 1, 0, at}, {at + 31, -1, -1},
	} {
		resp, err := s.ListOffsets(t.Context(), &storageclient.ListOffsetsRequest{Partitions: []storageclient.ListOffsetsPartition{{PartitionID: id, LeaderEpoch: -1, Timestamp: want.ask}}})
		if err != nil {
			t.Fatal(err)
		}
		if r := resp.Results[0]; r.Err != nil || r.Offset != want.offset || r.Timestamp != want.timestamp {
			t.Errorf("asked %d: %+v, want %+v", want.ask, r, want)
		}
	}
}
