package cluster

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// writer sends numbered records to one partition of a topic, one after the other,
// as one idempotent producer: each again until it is acknowledged.
type writer struct {
	topic     string
	partition int32
	client    pb.ProduceServiceClient
	id        int64
	offsets   []int64 // of the acknowledged records, by number; its owner's until stop
	acked     atomic.Int64
	failed    atomic.Int64  // sends that failed and were sent again
	told      int64         // the last record that was told of, and one; send's alone
	grew      chan struct{} // holds a token where more were acknowledged since someone looked
	stop      func()
}

// write begins to write to partition 0; it ends with stop, or with the test.
func write(t *testing.T, c *testcluster.Cluster, topic string) *writer {
	t.Helper()
	return writeTo(t, c, topic, 0)
}

func writeTo(t *testing.T, c *testcluster.Cluster, topic string, partition int32) *writer {
	t.Helper()
	w := &writer{topic: topic, partition: partition, client: c.Produce(t), grew: make(chan struct{}, 1)}
	made, err := w.client.InitProducer(testcluster.Context(t), &pb.InitProducerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w.id = made.GetProducerId()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w.send(ctx, t) {
		}
	}()
	w.stop = func() { cancel(); <-done }
	t.Cleanup(w.stop)
	return w
}

// send sends one record until it is acknowledged, and reports false where the
// writer is to stop.
func (w *writer) send(ctx context.Context, t *testing.T) bool {
	n := w.acked.Load()
	req := &pb.ProduceRequest{
		Topic: w.topic, Partition: &w.partition, Records: []*pb.Record{{Value: strconv.AppendInt(nil, n, 10)}},
		Producer: &pb.ProducerSequence{ProducerId: w.id, Sequence: int32(n)},
	}
	for ctx.Err() == nil {
		resp, err := w.client.Produce(ctx, req)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.refused(t, n, err)
		case resp.GetResults()[0].GetError() != nil:
			w.refused(t, n, resp.GetResults()[0].GetError())
		default:
			w.offsets = append(w.offsets, resp.GetResults()[0].GetBaseOffset())
			w.acked.Add(1)
			select {
			case w.grew <- struct{}{}:
			default:
			}
			return true
		}
	}
	return false
}

// refused counts a send that is to be sent again, and tells of the first of a
// record.
func (w *writer) refused(t *testing.T, n int64, why any) {
	if w.failed.Add(1); w.told != n+1 {
		w.told = n + 1
		t.Logf("record %d: %v", n, why)
	}
}

// flows waits until more records were acknowledged.
func (w *writer) flows(t *testing.T) {
	t.Helper()
	w.await(t, 20)
}

// await waits until n more records were acknowledged.
func (w *writer) await(t *testing.T, n int64) {
	t.Helper()
	ctx := testcluster.Context(t)
	for enough := w.acked.Load() + n; w.acked.Load() < enough; {
		select {
		case <-w.grew:
		case <-ctx.Done():
			t.Fatal("nothing is acknowledged any more")
		}
	}
}

// verify stops the writer and requires that the partition holds exactly what was
// acknowledged, each record once and where its answer said.
func (w *writer) verify(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	w.stop()
	read, next := c.Read(t), int64(0)
	for n := 0; n < len(w.offsets); {
		resp, err := read.Fetch(testcluster.Context(t), &pb.FetchRequest{Topic: w.topic, Partition: w.partition, Position: &pb.Position{At: &pb.Position_Offset{Offset: next}}})
		if err != nil {
			t.Fatalf("read at %d: %v", next, err)
		}
		if len(resp.GetRecords()) == 0 {
			t.Fatalf("the partition ends at %d, with %d of %d acknowledged records", next, n, len(w.offsets))
		}
		for _, r := range resp.GetRecords() {
			if n < len(w.offsets) && (string(r.GetValue()) != strconv.Itoa(n) || r.GetOffset() != w.offsets[n]) {
				t.Fatalf("record %s is at offset %d, want record %d, acknowledged at %d", r.GetValue(), r.GetOffset(), n, w.offsets[n])
			}
			n++
			next = r.GetOffset() + 1
		}
	}
}
