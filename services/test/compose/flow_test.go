//go:build compose

package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/gateway/gatewayclient"
	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

const (
	topic      = "river"
	partitions = 6
	group      = "readers"
)

// The doors that docker-compose.yml publishes.
var (
	grpcDoors  = []string{"localhost:9090", "localhost:9190"}
	kafkaDoors = []string{"localhost:9092", "localhost:9192"}
)

type place struct {
	partition int32
	offset    int64
}

// flow is a producer at each partition, a reader of all, and a member of a
// consumer group, at work until the test ends.
type flow struct {
	mu    sync.Mutex
	moved sync.Cond
	acked map[place]string
	read  map[place]string // by the reader
	group map[place]string // by the member of the group

	last   [partitions]time.Time // acknowledgement
	silent time.Duration         // the longest time that a partition acknowledged nothing, since it was asked for
}

func dial(t *testing.T, doors ...string) *gatewayclient.Client {
	t.Helper()
	client, err := gatewayclient.Dial(strings.Join(doors, ","), gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func startFlow(t *testing.T) *flow {
	t.Helper()
	f := &flow{acked: map[place]string{}, read: map[place]string{}, group: map[place]string{}}
	f.moved.L = &f.mu
	client := dial(t, grpcDoors...)
	created, err := client.Topics().CreateTopic(testcluster.Context(t), &pb.CreateTopicRequest{Name: topic, PartitionCount: partitions})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range created.GetTopic().GetPartitions() {
		if len(p.GetReplicaIds()) != 3 {
			t.Fatalf("partition %d has replicas %v", p.GetIndex(), p.GetReplicaIds())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	producer := client.NewProducer(gatewayclient.ProducerOptions{})
	for partition := range int32(partitions) {
		work.Go(func() { f.produce(ctx, t, producer, partition) })
	}
	work.Go(func() { f.follow(ctx, t, client) })
	work.Go(func() { f.consume(ctx, t) })
	return f
}

// produce sends one record after the other. None may fail.
func (f *flow) produce(ctx context.Context, t *testing.T, p *gatewayclient.Producer, partition int32) {
	for i := 0; ; i++ {
		value := fmt.Sprintf("%d/%d", partition, i)
		at, err := p.ProduceSync(ctx, topic, &partition, &pb.Record{Value: []byte(value)})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Errorf("%s was not acknowledged: %v", value, err)
			return
		}
		f.note(t, f.acked, place{partition, at.Offset}, value)
		f.heard(partition, time.Now())
	}
}

func (f *flow) follow(ctx context.Context, t *testing.T, client *gatewayclient.Client) {
	req := &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: topic, Position: start()}}}
	for m, err := range client.Read(ctx, req) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Errorf("read: %v", err)
			return
		}
		f.note(t, f.read, place{m.Partition, m.GetOffset()}, string(m.GetValue()))
	}
}

func start() *pb.Position { return &pb.Position{At: &pb.Position_Start{Start: true}} }

func (f *flow) consume(ctx context.Context, t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers(kafkaDoors...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, partition int32, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Logf("group: partition %d: %v", partition, err) // the client goes on by itself
			}
		})
		fetches.EachRecord(func(r *kgo.Record) { f.note(t, f.group, place{r.Partition, r.Offset}, string(r.Value)) })
	}
}

// note remembers what is at a place, where nothing else may be.
func (f *flow) note(t *testing.T, in map[place]string, at place, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if was, ok := in[at]; ok && was != value {
		t.Errorf("at %v was %q and is %q", at, was, value)
	}
	in[at] = value
	f.moved.Broadcast()
}

func (f *flow) heard(partition int32, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := f.last[partition]; !last.IsZero() {
		f.silent = max(f.silent, at.Sub(last))
	}
	f.last[partition] = at
}

// silence returns the longest time that a partition acknowledged nothing, since
// the last call.
func (f *flow) silence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	silent := f.silent
	f.silent = 0
	return silent
}

// count returns how many records of each partition are in a map.
func count(in map[place]string) (n [partitions]int) {
	for at := range in {
		n[at.partition]++
	}
	return n
}

// goesOn waits until at each partition records were acknowledged, read and
// consumed by the group that were sent after now.
func (f *flow) goesOn(t *testing.T) {
	t.Helper()
	f.until(t, "acknowledged", f.acked)
	f.until(t, "read", f.read)
	f.until(t, "consumed by the group", f.group)
}

func (f *flow) until(t *testing.T, what string, in map[place]string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	enough := count(f.acked)
	ctx := testcluster.Context(t)
	defer context.AfterFunc(ctx, func() { f.mu.Lock(); f.moved.Broadcast(); f.mu.Unlock() })()
	for !passes(count(in), enough) && !t.Failed() {
		if ctx.Err() != nil {
			t.Fatalf("%s: %v of more than %v", what, count(in), enough)
		}
		f.moved.Wait()
	}
}

func passes(n, enough [partitions]int) bool {
	for i := range n {
		if n[i] <= enough[i] {
			return false
		}
	}
	return true
}

// isWhole reads the topic anew through one gateway and requires every
// acknowledged record at its place.
func (f *flow) isWhole(t *testing.T, door string) int {
	t.Helper()
	f.mu.Lock()
	acked := make(map[place]string, len(f.acked))
	for at, value := range f.acked {
		acked[at] = value
	}
	f.mu.Unlock()
	n, missing := len(acked), len(acked)
	req := &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: topic, Position: start()}}, UntilEnd: true}
	for m, err := range dial(t, door).Read(testcluster.Context(t), req) {
		if err != nil {
			t.Fatalf("read through %s: %v", door, err)
		}
		at := place{m.Partition, m.GetOffset()}
		if value, ok := acked[at]; ok {
			if missing--; value != string(m.GetValue()) {
				t.Errorf("at %v is %q, acknowledged was %q", at, m.GetValue(), value)
			}
		}
	}
	if missing != 0 {
		t.Errorf("%d of %d acknowledged records are lost through %s", missing, n, door)
	}
	return n
}
