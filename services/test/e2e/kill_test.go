package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

const (
	killLoopsVar     = "MOLDAU_KILL_LOOPS"
	defaultKillLoops = 20
)

func killLoops(t testing.TB) int {
	t.Helper()
	text := os.Getenv(killLoopsVar)
	if text == "" {
		return defaultKillLoops
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number of loops", killLoopsVar, text)
	}
	return n
}

// TestKillLosesNothingAcknowledged kills the platform in the middle of
// producing, again and again on one data folder. After each restart the
// producer repeats the request whose answer it never got; then every
// acknowledged record must lie at its offset, and no record twice.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	const partitions = 3
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := testcluster.Start(t)
	c.CreateTopic(t, "acked", partitions, map[string]string{"segment.bytes": "65536"})
	writers := newWriters(t, c, "acked", partitions, rng)
	for loop := range killLoops(t) {
		killMidProduce(t, c, writers, rng.IntN(60)+1)
		c.Restart(t)
		for _, w := range writers {
			w.settle(t, c)
		}
		verifyWritten(t, c, "acked", writers)
		if t.Failed() {
			t.Fatalf("loop %d", loop)
		}
	}
	var total int
	for _, w := range writers {
		total += len(w.acked)
	}
	t.Logf("%d kills, %d acknowledged records, %d requests repeated, %d of them found appended",
		killLoops(t), total, count(writers, func(w *writer) int { return w.repeated }), count(writers, func(w *writer) int { return w.duplicates }))
}

// killMidProduce lets all writers run, kills the process once it has answered
// the given number of requests, and waits until each writer has noticed.
func killMidProduce(t *testing.T, c *testcluster.Cluster, writers []*writer, answers int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(answers))
	reached := make(chan struct{})
	var wg sync.WaitGroup
	ctx := testcluster.Context(t)
	for _, w := range writers {
		wg.Go(func() {
			for w.send(ctx) {
				if left.Add(-1) == 0 {
					close(reached)
				}
			}
		})
	}
	select {
	case <-reached:
	case <-ctx.Done():
		t.Fatal("the writers got no answers")
	}
	c.Kill()
	wg.Wait()
	for _, w := range writers {
		if w.failed != nil {
			t.Fatalf("partition %d: %v", w.partition, w.failed)
		}
	}
}

// writer is one idempotent producer with a partition of its own.
type writer struct {
	client    pb.ProduceServiceClient
	topic     string
	partition int32
	rng       *rand.Rand

	id       int64
	epoch    int32
	sequence int32
	made     int
	acked    []string // by offset; every record of the partition is this writer's

	inDoubt    *pb.ProduceRequest // sent, but never answered
	repeated   int
	duplicates int
	failed     error
}

func newWriters(t *testing.T, c *testcluster.Cluster, topic string, n int32, rng *rand.Rand) []*writer {
	t.Helper()
	var writers []*writer
	for p := range n {
		init, err := c.Produce(t).InitProducer(testcluster.Context(t), &pb.InitProducerRequest{})
		if err != nil {
			t.Fatalf("init producer: %v", err)
		}
		writers = append(writers, &writer{
			client: c.Produce(t), topic: topic, partition: p, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)),
			id: init.ProducerId, epoch: init.ProducerEpoch,
		})
	}
	return writers
}

// send sends one request and reports whether it was acknowledged.
func (w *writer) send(ctx context.Context) bool {
	req := &pb.ProduceRequest{
		Topic: w.topic, Partition: &w.partition,
		Producer: &pb.ProducerSequence{ProducerId: w.id, ProducerEpoch: w.epoch, Sequence: w.sequence},
	}
	for range w.rng.IntN(20) + 1 {
		value := fmt.Appendf(nil, "p%d-%d-%x", w.partition, w.made, w.rng.Uint64())
		w.made++
		req.Records = append(req.Records, &pb.Record{Value: value})
	}
	resp, err := w.client.Produce(ctx, req)
	if err != nil {
		w.inDoubt = req
		if code := status.Code(err); code != codes.Unavailable {
			w.failed = fmt.Errorf("a killed server looks like %w", err)
		}
		return false
	}
	w.failed = w.acknowledge(req, resp)
	return w.failed == nil
}

// acknowledge notes where the records of req lie.
func (w *writer) acknowledge(req *pb.ProduceRequest, resp *pb.ProduceResponse) error {
	if len(resp.Results) != 1 || resp.Results[0].Error != nil {
		return fmt.Errorf("produce at sequence %d: %v", w.sequence, resp)
	}
	r := resp.Results[0]
	if r.BaseOffset != int64(len(w.acked)) || int(r.RecordCount) != len(req.Records) {
		return fmt.Errorf("%d records acknowledged at offset %d; sent %d after %d acknowledged (duplicate: %t)",
			r.RecordCount, r.BaseOffset, len(req.Records), len(w.acked), r.Duplicate)
	}
	for _, rec := range req.Records {
		w.acked = append(w.acked, string(rec.Value))
	}
	w.sequence += int32(len(req.Records))
	w.inDoubt = nil
	return nil
}

// settle repeats the request in doubt, as it was.
func (w *writer) settle(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	w.client = c.Produce(t)
	if w.inDoubt == nil {
		return
	}
	resp, err := w.client.Produce(testcluster.Context(t), w.inDoubt)
	if err != nil {
		t.Fatalf("partition %d: repeat sequence %d: %v", w.partition, w.sequence, err)
	}
	w.repeated++
	if resp.Results[0].Duplicate {
		w.duplicates++
	}
	if err := w.acknowledge(w.inDoubt, resp); err != nil {
		t.Fatalf("partition %d: repeated: %v", w.partition, err)
	}
}

// verifyWritten reads everything back: the log must be exactly what the
// writers were told.
func verifyWritten(t *testing.T, c *testcluster.Cluster, topic string, writers []*writer) {
	t.Helper()
	got := map[int32][]event{}
	for _, e := range (grpcDoor{c}).read(t, topic, int32(len(writers))) {
		got[e.partition] = append(got[e.partition], e)
	}
	for _, w := range writers {
		events := got[w.partition]
		if len(events) != len(w.acked) {
			t.Errorf("partition %d holds %d records, %d were acknowledged", w.partition, len(events), len(w.acked))
		}
		for i := range min(len(events), len(w.acked)) {
			if events[i].offset != int64(i) || string(events[i].value) != w.acked[i] {
				t.Errorf("partition %d, offset %d: got %s at %d, acknowledged %s", w.partition, i, events[i].value, events[i].offset, w.acked[i])
				break
			}
		}
	}
}

func count(writers []*writer, of func(*writer) int) int {
	n := 0
	for _, w := range writers {
		n += of(w)
	}
	return n
}
