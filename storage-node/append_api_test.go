package storagenode

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

func TestWhatIsAppendedIsReadAtItsOffset(t *testing.T) {
	for _, durability := range []string{"durable", "relaxed"} {
		t.Run(durability, func(t *testing.T) {
			c := newCluster(t, newDisk())
			id := pid(c.meta.create("orders", 1, map[string]string{"moldau.durability": durability}), 0)
			s := c.start()
			for i, want := range []int64{0, 3, 6} {
				if got := mustAppend(t, s, id, batch(t, 3, string(rune('a'+i)))); got != want {
					t.Fatalf("batch %d is at %d, want %d", i, got, want)
				}
			}
			r := fetchFrom(t, s, id, 4)
			got := values(t, r.Batches)
			if r.HighWatermark != 9 || got[3] != "b" || got[8] != "c" || len(got) != 6 {
				t.Fatalf("read %v below %d", got, r.HighWatermark)
			}
			if h, _ := record.ParseHeader(r.Batches); h.LeaderEpoch != 3 {
				t.Fatalf("batch has leader epoch %d, want the leader's", h.LeaderEpoch)
			}
		})
	}
}

func TestARefusedPartitionDoesNotFailTheOthers(t *testing.T) {
	c := newCluster(t, newDisk())
	orders, far := c.meta.create("orders", 1, nil), topicid.New()
	c.meta.put(&metadataclient.Topic{ID: far, Name: "far", Partitions: []metadataclient.Partition{{Leader: 2, LeaderEpoch: 5, Replicas: []int32{2}}}})
	small := c.meta.create("small", 1, map[string]string{"max.message.bytes": "200"})
	keyed := c.meta.create("keyed", 1, map[string]string{"cleanup.policy": "compact"})
	s := c.start()
	corrupt := batch(t, 1, "x")
	corrupt[len(corrupt)-1] ^= 1
	nullKey := record.NewBuilder(record.DefaultBuilderOptions())
	nullKey.Append(&record.Record{Timestamp: noon.UnixMilli()})
	unkeyed, _ := nullKey.Build(nil)
	two := int64(2)
	late := record.NewBuilder(record.DefaultBuilderOptions())
	late.Append(&record.Record{Timestamp: noon.Add(2 * time.Hour).UnixMilli()})
	future, _ := late.Build(nil)
	cases := []struct {
		in   storageclient.AppendPartition
		want errcode.Reason
	}{
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: -1, Batch: batch(t, 1, "x")}, ""},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: 2, Batch: batch(t, 1, "x")}, errcode.FencedLeaderEpoch},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: 4, Batch: batch(t, 1, "x")}, errcode.UnknownLeaderEpoch},
		{storageclient.AppendPartition{PartitionID: pid(orders, 1), LeaderEpoch: -1, Batch: batch(t, 1, "x")}, errcode.UnknownPartition},
		{storageclient.AppendPartition{PartitionID: pid(topicid.New(), 0), LeaderEpoch: -1, Batch: batch(t, 1, "x")}, errcode.UnknownTopicID},
		{storageclient.AppendPartition{PartitionID: pid(far, 0), LeaderEpoch: -1, Batch: batch(t, 1, "x")}, errcode.NotLeader},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: -1, Batch: corrupt}, errcode.CorruptRecord},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: -1, Batch: nil}, errcode.CorruptRecord},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: -1, Batch: future}, errcode.InvalidTimestamp},
		{storageclient.AppendPartition{PartitionID: pid(small, 0), LeaderEpoch: -1, Batch: batch(t, 9, "too long")}, errcode.RecordTooLarge},
		{storageclient.AppendPartition{PartitionID: pid(keyed, 0), LeaderEpoch: -1, Batch: unkeyed}, errcode.InvalidRecord},
		{storageclient.AppendPartition{PartitionID: pid(orders, 0), LeaderEpoch: -1, Batch: batch(t, 1, "x"), ExpectedOffset: &two}, errcode.OffsetMismatch},
		{storageclient.AppendPartition{PartitionID: pid(small, 0), LeaderEpoch: 3, Batch: batch(t, 1, "x")}, ""},
	}
	req := &storageclient.AppendRequest{}
	for _, c := range cases {
		req.Partitions = append(req.Partitions, c.in)
	}
	resp, err := s.Append(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if got := errcode.ReasonOf(resp.Results[i].Err); got != c.want {
			t.Errorf("case %d: %v, want %q", i, resp.Results[i].Err, c.want)
		}
	}
}

func TestTopicDecidesTimestampsAndCompression(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("stamped", 1, map[string]string{"message.timestamp.type": "LogAppendTime", "compression.type": "lz4"}), 0)
	s := c.start()
	c.clock.Advance(time.Second)
	want := noon.Add(time.Second).UnixMilli()
	r := appendTo(t, s, id, batch(t, 2, "x", idempotent(9, 0, 0)), storageclient.AcksAll)
	if r.Err != nil || r.LogAppendTimeMs != want {
		t.Fatalf("stamped %d (%v), want %d", r.LogAppendTimeMs, r.Err, want)
	}
	got := fetchFrom(t, s, id, 0)
	h, err := record.Verify(got.Batches)
	if err != nil || h.MaxTimestamp != want || h.Codec() != record.LZ4 || h.ProducerID != 9 || h.BaseSequence != 0 {
		t.Fatalf("stored %+v, %v", h, err)
	}
	c.clock.Advance(time.Second)
	again := appendTo(t, s, id, batch(t, 2, "x", idempotent(9, 0, 0)), storageclient.AcksAll)
	if !again.Duplicate || again.LogAppendTimeMs != want || again.BaseOffset != 0 {
		t.Fatalf("the duplicate is told %+v, want the first time's", again)
	}
}

func TestIdempotenceSurvivesStopAndKill(t *testing.T) {
	for _, end := range []string{"stop", "kill"} {
		t.Run(end, func(t *testing.T) {
			c := newCluster(t, newDisk())
			id := pid(c.meta.create("orders", 1, nil), 0)
			s := c.start()
			for i := range int32(7) {
				mustAppend(t, s, id, batch(t, 2, "x", idempotent(5, 1, i*2)))
			}
			if end == "stop" {
				c.stop()
			} else {
				c.kill()
			}
			s = c.start()
			r := appendTo(t, s, id, batch(t, 2, "x", idempotent(5, 1, 6)), storageclient.AcksAll)
			if r.Err != nil || !r.Duplicate || r.BaseOffset != 6 {
				t.Fatalf("sent again after the restart: %+v", r)
			}
			if r := appendTo(t, s, id, batch(t, 2, "x", idempotent(5, 1, 2)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.OutOfOrderSequence) {
				t.Fatalf("a sequence of long ago: %v", r.Err)
			}
			if r := appendTo(t, s, id, batch(t, 1, "x", idempotent(5, 0, 14)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.InvalidProducerEpoch) {
				t.Fatalf("older epoch: %v", r.Err)
			}
			if got := mustAppend(t, s, id, batch(t, 1, "y", idempotent(5, 1, 14))); got != 14 {
				t.Fatalf("next is at %d, want 14", got)
			}
		})
	}
}

func TestAppendAfterItsDeadlineIsRefused(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Append(ctx, &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{{PartitionID: id, Batch: batch(t, 1, "x")}}})
	if !errcode.Is(err, errcode.Canceled) {
		t.Fatal(err)
	}
	if r := fetchFrom(t, s, id, 0); r.HighWatermark != 0 || !bytes.Equal(r.Batches, nil) {
		t.Fatal("a cancelled append was appended")
	}
}

// TestABatchThatOvertookAnotherWaitsForIt: of several batches under way at once
// none is refused for coming too early, unless those before it never come.
func TestABatchThatOvertookAnotherWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newDisk())
		id := pid(c.meta.create("orders", 1, nil), 0)
		s := c.start()
		mustAppend(t, s, id, batch(t, 5, "0", idempotent(7, 0, 0)))
		results := map[int32]storageclient.AppendResult{}
		var mu sync.Mutex
		send := func(seq int32) {
			r := appendTo(t, s, id, batch(t, 5, "v", idempotent(7, 0, seq)), storageclient.AcksAll)
			mu.Lock()
			defer mu.Unlock()
			results[seq] = r
		}
		for _, seq := range []int32{15, 10, 20, 40} {
			go send(seq)
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Fatalf("answered: %v", results)
		}
		send(5)
		synctest.Wait()
		for seq := int32(5); seq <= 20; seq += 5 {
			if r := results[seq]; r.Err != nil || r.BaseOffset != int64(seq) {
				t.Errorf("the batch of sequence %d: %+v", seq, r)
			}
		}
		if len(results) != 4 {
			t.Errorf("%d answers: the batches before sequence 40 have not come", len(results))
		}
		c.clock.Advance(earlyWait)
		synctest.Wait()
		if r := results[40]; !errcode.Is(r.Err, errcode.OutOfOrderSequence) {
			t.Errorf("after a gap: %+v", r)
		}
		if r := appendTo(t, s, id, batch(t, 5, "v", idempotent(7, 0, 13)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.OutOfOrderSequence) {
			t.Errorf("a sequence of the past: %+v", r)
		}
		c.stop()
	})
}
