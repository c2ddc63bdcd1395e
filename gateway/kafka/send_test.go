package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLargeFetchesComeFromTheFiles: a frame of a head, slices of files and bytes
// between them is what the head says it is, for a slow reader too.
func TestLargeFetchesComeFromTheFiles(t *testing.T) {
	c := newCluster(t, onDisk(t.TempDir()))
	c.topic("big", 2, nil)
	value := strings.Repeat("0123456789abcdef", 1<<10) // 16 KiB
	producer := c.client(kgo.DefaultProduceTopic("big"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	const each = 200 // 3 MiB: more than the sockets hold
	for i := range 2 * each {
		producer.Produce(t.Context(), &kgo.Record{Value: []byte(value), Partition: int32(i % 2)}, nil)
	}
	check(t, producer.Flush(t.Context()))
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MinBytes, req.ReplicaID, req.SessionEpoch = 11, 50<<20, 1, -1, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "big"
	for i := range int32(2) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = i, 20<<20
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	w := dial(t, c.addr)
	for range 3 { // the frames that follow stand where they should
		resp := must(w.ask(req)).(*kmsg.FetchResponse)
		for _, p := range resp.Topics[0].Partitions {
			if n := strings.Count(string(p.RecordBatches), value); p.ErrorCode != 0 || n != each {
				t.Fatalf("partition %d: code %d, %d records of %d", p.Partition, p.ErrorCode, n, each)
			}
		}
	}
}
