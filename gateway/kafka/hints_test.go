package kafka_test

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// batch is one record batch without a producer.
func batch(values ...string) []byte {
	b := record.NewBuilder(record.DefaultBuilderOptions())
	for _, v := range values {
		b.Append(&record.Record{Value: []byte(v), Timestamp: 1_700_000_000_000})
	}
	return must(b.Build(nil))
}

// produceOf is a Produce of one batch, in the last version with names.
func produceOf(topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 12, -1, 1000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{part}}}
	return req
}

func TestKIP951ALeaderThatMovedIsNamed(t *testing.T) {
	f := newFakes(t)
	f.topic("t", 1)
	s := f.gateway(4)
	var once sync.Once
	f.storage.Refuse(func(storageclient.PartitionID, int32) error {
		once.Do(func() { f.meta.Lead("t", 0, 1) })
		return errcode.New(errcode.NotLeader, "another node leads")
	})
	got := askAt[*kmsg.ProduceResponse](t, s, produceOf("t", 0, batch("x")))
	part := got.Topics[0].Partitions[0]
	if part.ErrorCode != 6 || part.CurrentLeader.LeaderID != 4 || part.CurrentLeader.LeaderEpoch != 1 {
		t.Errorf("produce: %+v", part)
	}
	if len(got.Brokers) != 1 || net.JoinHostPort(got.Brokers[0].Host, strconv.Itoa(int(got.Brokers[0].Port))) != s.KafkaAddr() {
		t.Errorf("endpoints %+v", got.Brokers)
	}
	f.storage.Refuse(nil)
	fetch := fetchOf("t", 0, 0)
	fetch.Version, fetch.Topics[0].TopicID = 16, f.meta.View().Topics["t"].ID
	fetch.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	read := askAt[*kmsg.FetchResponse](t, s, fetch)
	if p := read.Topics[0].Partitions[0]; p.ErrorCode != 74 || p.CurrentLeader.LeaderID != 4 || p.CurrentLeader.LeaderEpoch != 1 || len(read.Brokers) != 1 {
		t.Errorf("fetch: %+v, endpoints %+v", p, read.Brokers)
	}
}

func TestKIP951NoHintWithoutANewerEpoch(t *testing.T) {
	f := newFakes(t)
	f.topic("t", 1)
	s := f.gateway(4)
	f.storage.Refuse(func(storageclient.PartitionID, int32) error {
		return errcode.New(errcode.NotLeader, "nobody leads yet")
	})
	got := askAt[*kmsg.ProduceResponse](t, s, produceOf("t", 0, batch("x")))
	if part := got.Topics[0].Partitions[0]; part.ErrorCode != 6 || part.CurrentLeader.LeaderID != -1 || len(got.Brokers) != 0 {
		t.Errorf("got %+v, endpoints %+v: clients spin on a hint with the epoch that they have", part, got.Brokers)
	}
}
