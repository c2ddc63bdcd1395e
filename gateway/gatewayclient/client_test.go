package gatewayclient_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewayclient"
	"moldau.dev/gateway/gatewaytest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// cluster is what stands behind the gateways of a test.
type cluster struct {
	meta    *gatewaytest.Metadata
	storage *gatewaytest.Storage
}

func newCluster(t *testing.T, topic string, partitions int32) *cluster {
	t.Helper()
	c := &cluster{meta: gatewaytest.NewMetadata(), storage: gatewaytest.NewStorage(clock.Real())}
	if _, err := c.meta.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{Name: topic, PartitionCount: partitions}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) gateway(t *testing.T, addr string) *gateway.Service {
	t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = addr, "127.0.0.1:0", "127.0.0.1:0"
	s, err := gateway.NewService(cfg, gateway.Deps{Metadata: c.meta, Nodes: gatewaytest.NewNodes(c.storage)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *gateway.Service, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func dial(t *testing.T, addr string) *gatewayclient.Client {
	t.Helper()
	client, err := gatewayclient.Dial(addr, gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *cluster) values(topic string, partition int32) []string {
	return c.storage.Values(storageclient.PartitionID{Topic: c.meta.View().Topics[topic].ID, Index: partition})
}

// TestRecordsArriveOnceAndInOrderThroughLossAndRestarts loses answers at random
// and takes the gateway away in the middle: every record is there once, in
// order, at the offset that its callback was told.
func TestRecordsArriveOnceAndInOrderThroughLossAndRestarts(t *testing.T) {
	const n, partitions = 3000, 3
	c := newCluster(t, "t", partitions)
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	c.storage.AfterAppend = func(*storageclient.AppendRequest) error {
		mu.Lock()
		defer mu.Unlock()
		time.Sleep(time.Millisecond)
		if random.IntN(10) == 0 {
			return errcode.New(errcode.NodeUnavailable, "the answer was lost")
		}
		return nil
	}
	s := c.gateway(t, "127.0.0.1:0")
	addr := s.GRPCAddr()
	p := dial(t, addr).NewProducer(gatewayclient.ProducerOptions{BatchBytes: 4 << 10, Compression: record.Zstd})
	told := make([]gatewayclient.Receipt, n)
	for i := range n {
		partition := int32(i % partitions)
		err := p.Produce(t.Context(), "t", &partition, &moldauv1.Record{Value: fmt.Append(nil, i)}, func(at gatewayclient.Receipt, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
			told[i] = at
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			stop(t, s, 0) // at once, with batches under way
			s = c.gateway(t, addr)
		}
	}
	defer func() { stop(t, s, time.Second) }()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for q := range int32(partitions) {
		values := c.values("t", q)
		if len(values) != n/partitions {
			t.Fatalf("partition %d has %d records, want %d", q, len(values), n/partitions)
		}
		for i, v := range values {
			sent := i*partitions + int(q)
			if v != fmt.Sprint(sent) || told[sent].Offset != int64(i) || told[sent].Partition != q {
				t.Fatalf("partition %d offset %d holds %s, told %v", q, i, v, told[sent])
			}
		}
	}
}

// TestARefusedBatchCostsItsOwnRecordsAlone: those that follow it, which were
// under way with it, arrive in order all the same; and several are under way.
func TestARefusedBatchCostsItsOwnRecordsAlone(t *testing.T) {
	const n = 2000
	c := newCluster(t, "t", 1)
	var flying, most atomic.Int32
	c.storage.Judge = func(batch []byte) error {
		if bytes.Contains(batch, []byte("poison")) {
			return errcode.New(errcode.InvalidRecord, "poison")
		}
		return nil
	}
	c.storage.BeforeAppend = func(*storageclient.AppendRequest) error {
		if now := flying.Add(1); now > most.Load() {
			most.Store(now)
		}
		time.Sleep(time.Millisecond) // a disk
		return nil
	}
	c.storage.AfterAppend = func(*storageclient.AppendRequest) error {
		flying.Add(-1)
		return nil
	}
	s := c.gateway(t, "127.0.0.1:0")
	defer func() { stop(t, s, time.Second) }()
	p := dial(t, s.GRPCAddr()).NewProducer(gatewayclient.ProducerOptions{BatchBytes: 2 << 10})
	refused, partition := make([]bool, n), int32(0)
	for i := range n {
		value := fmt.Append(nil, i)
		if i%97 == 5 {
			value = append(value, " poison"...)
		}
		if err := p.Produce(t.Context(), "t", &partition, &moldauv1.Record{Value: value}, func(_ gatewayclient.Receipt, err error) {
			if refused[i] = err != nil; err != nil && !errcode.Is(err, errcode.InvalidRecord) {
				t.Errorf("record %d: %v", i, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range n {
		if i%97 == 5 && !refused[i] {
			t.Errorf("record %d, which is poison, was taken", i)
		}
		if !refused[i] {
			want = append(want, fmt.Sprint(i))
		}
	}
	if len(want) < n/4 {
		t.Errorf("%d of %d records were taken", len(want), n)
	}
	if got := c.values("t", 0); !slices.Equal(got, want) {
		t.Errorf("the log has %d records, %d were taken", len(got), len(want))
	}
	if most.Load() < 2 || most.Load() > 5 {
		t.Errorf("%d batches were under way at once", most.Load())
	}
}

// TestReaderGoesOnWhereGatewaysEnd: over a drain, over a loss.
func TestReaderGoesOnWhereGatewaysEnd(t *testing.T) {
	const n = 300
	c := newCluster(t, "t", 2)
	s := c.gateway(t, "127.0.0.1:0")
	addr := s.GRPCAddr()
	client := dial(t, addr)
	p := client.NewProducer(gatewayclient.ProducerOptions{BatchBytes: 400})
	for i := range n {
		if err := p.Produce(t.Context(), "t", nil, &moldauv1.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	i := 0
	for m, err := range client.Read(t.Context(), &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}, MaxBytes: 500, UntilEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[string(m.GetValue())]++
		switch i++; i {
		case n / 3: // with notice
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			go func(old *gateway.Service) { stop(t, old, time.Second) }(s)
			s = c.gatewayOnceFree(t, addr)
		case 2 * n / 3: // without
			stop(t, s, 0)
			s = c.gatewayOnceFree(t, addr)
		}
	}
	stop(t, s, time.Second)
	if len(seen) != n {
		t.Errorf("%d of %d records were read", len(seen), n)
	}
	for v, times := range seen {
		if times != 1 {
			t.Errorf("record %s was read %d times", v, times)
		}
	}
}

// TestReaderGetsPartitionsThatComeWhileItHasNoStream reads a whole topic over
// the end of a gateway, which gives no notice.
func TestReaderGetsPartitionsThatComeWhileItHasNoStream(t *testing.T) {
	c := newCluster(t, "t", 1)
	s := c.gateway(t, "127.0.0.1:0")
	addr := s.GRPCAddr()
	client := dial(t, addr)
	produce := func(partition int32) {
		req := &moldauv1.ProduceRequest{Topic: "t", Partition: &partition, Records: []*moldauv1.Record{{}}}
		fresh := dial(t, addr) // whose connection did not end with a gateway
		if resp, err := fresh.Records().Produce(t.Context(), req); err != nil || resp.GetResults()[0].GetError() != nil {
			t.Fatal(resp, err)
		}
	}
	produce(0)
	var seen []int32
	for m, err := range client.Read(t.Context(), &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, m.Partition); len(seen) == 2 {
			break
		}
		stop(t, s, 0)
		if _, err := c.meta.AddPartitions(t.Context(), &metadatav1.AddPartitionsRequest{Name: "t", PartitionCount: 2}); err != nil {
			t.Fatal(err)
		}
		s = c.gatewayOnceFree(t, addr)
		produce(1)
	}
	stop(t, s, time.Second)
	if len(seen) != 2 || seen[1] != 1 {
		t.Errorf("read partitions %v", seen)
	}
}

func (c *cluster) gatewayOnceFree(t *testing.T, addr string) *gateway.Service {
	t.Helper()
	for range 500 {
		cfg := gateway.DefaultConfig()
		cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = addr, "127.0.0.1:0", "127.0.0.1:0"
		s, err := gateway.NewService(cfg, gateway.Deps{Metadata: c.meta, Nodes: gatewaytest.NewNodes(c.storage)})
		if err != nil {
			t.Fatal(err)
		}
		if err = s.Start(t.Context()); err == nil {
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s stays taken", addr)
	return nil
}

func TestErrorsReachTheirRecords(t *testing.T) {
	c := newCluster(t, "t", 1)
	s := c.gateway(t, "127.0.0.1:0")
	defer stop(t, s, time.Second)
	p := dial(t, s.GRPCAddr()).NewProducer(gatewayclient.ProducerOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	far := int32(7)
	if _, err := p.ProduceSync(ctx, "t", &far, &moldauv1.Record{}); errcode.ReasonOf(err) != errcode.UnknownPartition {
		t.Errorf("a partition that is none: %v", err)
	}
	if _, err := p.ProduceSync(ctx, "nope", nil, &moldauv1.Record{}); errcode.ReasonOf(err) != errcode.UnknownTopic {
		t.Errorf("a topic that is none: %v", err)
	}
	if _, err := p.ProduceSync(ctx, "t", nil, &moldauv1.Record{Value: []byte(strings.Repeat("x", 1<<20))}); errcode.ReasonOf(err) != errcode.RecordTooLarge {
		t.Errorf("a record that is too large: %v", err)
	}
	if at, err := p.ProduceSync(ctx, "t", nil, &moldauv1.Record{Value: []byte("v")}); err != nil || at.Offset != 0 {
		t.Errorf("afterwards: %v, %v", at, err)
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(ctx, "t", nil, &moldauv1.Record{}, nil); errcode.ReasonOf(err) != errcode.ShuttingDown {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseGivesUpWhatCannotBeSent(t *testing.T) {
	p := dial(t, "127.0.0.1:1").NewProducer(gatewayclient.ProducerOptions{})
	failed := make(chan error, 1)
	zero := int32(0)
	if err := p.Produce(t.Context(), "t", &zero, &moldauv1.Record{}, func(_ gatewayclient.Receipt, err error) { failed <- err }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); errcode.ReasonOf(err) != errcode.RequestTimedOut {
		t.Errorf("closed: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("a record that was never sent counts as produced")
	}
}

func TestProduceWaitsWhileTooMuchIsBuffered(t *testing.T) {
	p := dial(t, "127.0.0.1:1").NewProducer(gatewayclient.ProducerOptions{MaxBufferedBytes: 1000, BatchBytes: 600})
	zero := int32(0)
	big := &moldauv1.Record{Value: make([]byte, 450)}
	if err := p.Produce(t.Context(), "t", &zero, big, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := p.Produce(ctx, "t", &zero, big, nil); errcode.ReasonOf(err) != errcode.RequestTimedOut {
		t.Errorf("the second record: %v", err)
	}
	_ = p.Close(ctx)
}
