package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func TestRecordsComeBackInEveryCodecAndThroughBothDoors(t *testing.T) {
	c := newCluster(t)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := "codec-" + name
			producer := c.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
			sent := records(1000)
			check(t, producer.ProduceSync(t.Context(), sent...).FirstErr())
			got := consume(t, c.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), len(sent))
			for i, r := range got {
				if string(r.Key) != string(sent[i].Key) || string(r.Value) != string(sent[i].Value) || r.Offset != int64(i) ||
					len(r.Headers) != 1 || string(r.Headers[0].Value) != "h" || !r.Timestamp.Equal(sent[i].Timestamp) || r.LeaderEpoch < 0 {
					t.Fatalf("record %d came back as %+v, was %+v", i, r, sent[i])
				}
			}
			native, err := moldauv1.NewReadServiceClient(c.grpc).Fetch(t.Context(), &moldauv1.FetchRequest{
				Topic: topic, Position: &moldauv1.Position{At: &moldauv1.Position_Start{Start: true}}, MaxBytes: 16 << 20,
			})
			check(t, err)
			if len(native.GetRecords()) != len(sent) {
				t.Fatalf("%d records through gRPC, want %d", len(native.GetRecords()), len(sent))
			}
			for i, r := range native.GetRecords() {
				if string(r.GetValue()) != string(sent[i].Value) || r.GetOffset() != int64(i) {
					t.Fatalf("record %d through gRPC is %v", i, r)
				}
			}
		})
	}
}

func records(n int) []*kgo.Record {
	base := time.UnixMilli(time.Now().UnixMilli())
	out := make([]*kgo.Record, n)
	for i := range out {
		out[i] = &kgo.Record{
			Key: fmt.Appendf(nil, "key %d", i%7), Value: fmt.Appendf(nil, "value %d of %d", i, n), Partition: 0,
			Timestamp: base.Add(time.Duration(i) * time.Millisecond), Headers: []kgo.RecordHeader{{Key: "k", Value: []byte("h")}},
		}
	}
	return out
}

// consume polls until n records came.
func consume(t *testing.T, cl *kgo.Client, n int) (got []*kgo.Record) {
	t.Helper()
	for len(got) < n {
		fetches := cl.PollFetches(t.Context())
		for _, e := range fetches.Errors() {
			t.Fatalf("fetch %s-%d: %v", e.Topic, e.Partition, e.Err)
		}
		got = append(got, fetches.Records()...)
	}
	if len(got) != n {
		t.Fatalf("%d records, want %d", len(got), n)
	}
	return got
}

func TestRecordsOfTheGRPCDoorReachKafkaClients(t *testing.T) {
	c := newCluster(t)
	c.topic("greetings", 1, nil)
	_, err := moldauv1.NewProduceServiceClient(c.grpc).Produce(t.Context(), &moldauv1.ProduceRequest{
		Topic: "greetings", Records: []*moldauv1.Record{{Key: []byte("k"), Value: []byte("hello")}, {Value: []byte("world")}},
	})
	check(t, err)
	got := consume(t, c.client(kgo.ConsumeTopics("greetings"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 2)
	if string(got[0].Value) != "hello" || string(got[0].Key) != "k" || string(got[1].Value) != "world" || got[1].Key != nil {
		t.Fatalf("got %v and %v", got[0], got[1])
	}
}

func TestManyPartitionsOnSeveralNodes(t *testing.T) {
	c := newCluster(t, storageNodes(3))
	c.topic("wide", 12, nil)
	producer := c.client(kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	sent := records(1200)
	for i, r := range sent {
		r.Partition = int32(i % 12)
	}
	check(t, producer.ProduceSync(t.Context(), sent...).FirstErr())
	got := consume(t, c.client(kgo.ConsumeTopics("wide"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(10<<10)), len(sent))
	next := map[int32]int64{}
	for _, r := range got {
		if r.Offset != next[r.Partition] {
			t.Fatalf("offset %d of partition %d, want %d", r.Offset, r.Partition, next[r.Partition])
		}
		next[r.Partition]++
	}
}

func TestAConsumerTailsWhatIsProducedLater(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			c := newCluster(t, storageNodes(nodes))
			c.topic("live", 6, nil)
			consumer := c.client(kgo.ConsumeTopics("live"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			producer := c.client(kgo.DefaultProduceTopic("live"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
			for i := range 20 {
				check(t, producer.ProduceSync(t.Context(), &kgo.Record{Value: fmt.Append(nil, i)}).FirstErr())
				if got := consume(t, consumer, 1); string(got[0].Value) != fmt.Sprint(i) {
					t.Fatalf("got %s, want %d", got[0].Value, i)
				}
			}
		})
	}
}

func TestConsumersStartAtTimesAndOffsets(t *testing.T) {
	c := newCluster(t)
	producer := c.client(kgo.DefaultProduceTopic("timed"))
	sent := records(100)
	check(t, producer.ProduceSync(t.Context(), sent...).FirstErr())
	for name, at := range map[string]kgo.Offset{
		"offset": kgo.NewOffset().At(40), "time": kgo.NewOffset().AfterMilli(sent[40].Timestamp.UnixMilli()), "relative": kgo.NewOffset().AtEnd().Relative(-60),
	} {
		got := consume(t, c.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"timed": {0: at}})), 60)
		if got[0].Offset != 40 {
			t.Errorf("by %s: starts at %d, want 40", name, got[0].Offset)
		}
	}
}
