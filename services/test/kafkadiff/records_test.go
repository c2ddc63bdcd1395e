//go:build kafkadiff

package kafkadiff

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// records are steps about producing and reading.
var records = append([]step{
	{name: "produce", make: produceTo("plain", 0, func(*side) []byte { return batchOf(3, nil) })},
	{name: "produce to the unknown", make: produceTo("absent", 0, func(*side) []byte { return batchOf(3, nil) })},
	{name: "produce to an unknown partition", make: produceTo("plain", 9, func(*side) []byte { return batchOf(3, nil) })},
	{name: "produce to partition -1", make: produceTo("plain", -1, func(*side) []byte { return batchOf(3, nil) })},
	{name: "produce stamped", make: produceTo("stamped", 0, func(*side) []byte { return batchOf(3, nil) })},
	{name: "produce nothing", make: produceTo("plain", 0, func(*side) []byte { return nil })},
	{name: "produce two batches", make: produceTo("plain", 0, func(*side) []byte { return append(batchOf(1, nil), batchOf(1, nil)...) })},
	{name: "produce a bad checksum", make: produceTo("plain", 0, func(*side) []byte {
		b := batchOf(3, nil)
		b[20] ^= 1
		return b
	})},
	{name: "produce a batch cut short", make: produceTo("plain", 0, func(*side) []byte { b := batchOf(3, nil); return b[:len(b)-1] })},
	{name: "produce without a key to the compacted", make: produceTo("compacted", 0, func(*side) []byte {
		return bytes.Clone(batchOf(1, func(b *kmsg.RecordBatch) {
			r := kmsg.Record{Value: []byte("v")}
			r.Length = int32(len(r.AppendTo(nil))) - 1
			b.Records = r.AppendTo(nil)
		}))
	})},
	{name: "produce with acks 2", make: func(s *side) kmsg.Request {
		req := produceTo("plain", 0, func(*side) []byte { return batchOf(1, nil) })(s).(*kmsg.ProduceRequest)
		req.Acks = 2
		return req
	}},
	{name: "produce in sequence, again and again", make: produceTo("plain", 1, sequenced(0, 0))},
	{name: "produce with a gap", make: produceTo("plain", 1, sequenced(0, 100))},
	{name: "produce with a new epoch in the middle", make: produceTo("plain", 1, sequenced(1, 7))},
	{name: "produce with a new epoch", make: produceTo("plain", 1, sequenced(1, 0))},
	{name: "produce with an old epoch", make: produceTo("plain", 1, sequenced(0, 1))},
	{name: "fetch", make: fetch(func(*side, *kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {})},
	{name: "fetch beyond the end", make: fetch(func(_ *side, _ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 9999 })},
	{name: "fetch below zero", make: fetch(func(_ *side, _ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = -1 })},
	{name: "fetch an unknown partition", make: fetch(func(_ *side, _ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 9 })},
	{name: "fetch the unknown", make: fetch(func(_ *side, r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
		r.Topics[0].Topic, r.Topics[0].TopicID = "absent", unknownID
	})},
	{name: "fetch of a later epoch", make: fetch(func(_ *side, _ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 99 })},
	{name: "fetch after a later epoch", from: 12, make: fetch(func(_ *side, _ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = 99 })},
	{name: "fetch in an unknown session", from: 7, make: fetch(func(_ *side, r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
		r.SessionID, r.SessionEpoch = 12345, 3
	})},
	{name: "fetch in a session of epoch -2", from: 7, make: fetch(func(_ *side, r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
		r.SessionID, r.SessionEpoch = 12345, -2
	})},
	{name: "fetch nothing", make: fetch(func(_ *side, r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.Topics = nil })},
	{name: "fetch of no bytes", make: fetch(func(_ *side, r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) {
		r.MaxBytes, p.PartitionMaxBytes = 0, 0
	})},
	{name: "fetch the committed", make: fetch(func(_ *side, r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.IsolationLevel = 1 })},
	{name: "epochs", make: func(*side) kmsg.Request { return epochEnd("plain", 0, 0) }},
	{name: "epochs before the first", make: func(*side) kmsg.Request { return epochEnd("plain", 0, -5) }},
	{name: "epochs after the last", make: func(*side) kmsg.Request { return epochEnd("plain", 0, 99) }},
	{name: "epochs of the unknown", make: func(*side) kmsg.Request { return epochEnd("absent", 0, 0) }},
	{name: "epochs of an unknown partition", make: func(*side) kmsg.Request { return epochEnd("plain", 9, 0) }},
	{name: "offsets of the unknown", make: func(*side) kmsg.Request { return listOffsets("absent", 0, -1) }},
	{name: "offsets of an unknown partition", make: func(*side) kmsg.Request { return listOffsets("plain", 9, -1) }},
	{name: "offsets of a later epoch", from: 4, make: func(*side) kmsg.Request {
		req := listOffsets("plain", 0, -1)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = 99
		return req
	}},
	{name: "producers", make: func(*side) kmsg.Request { return describeProducers("plain", 0) }},
	{name: "producers of an unknown partition", make: func(*side) kmsg.Request { return describeProducers("plain", 9) }},
	{name: "producers of the unknown", make: func(*side) kmsg.Request { return describeProducers("absent", 0) }},
	{name: "delete records", make: func(*side) kmsg.Request { return deleteRecords("plain", 0, 2) }},
	{name: "delete all records", make: func(*side) kmsg.Request { return deleteRecords("plain", 0, -1) }},
	{name: "fetch what is deleted", make: fetch(func(*side, *kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {})},
}, offsetSteps()...)

func offsetSteps() (list []step) {
	for _, at := range []int64{-1, -2, -3, -4, -5, -6, -7, -99, 0, 1, 2, 1 << 50} {
		list = append(list, step{name: fmt.Sprint("offsets at ", at), make: func(*side) kmsg.Request { return listOffsets("plain", 1, at) }})
	}
	return list
}

func produceTo(topic string, partition int32, batch func(s *side) []byte) func(s *side) kmsg.Request {
	return func(s *side) kmsg.Request {
		req, t, p := kmsg.NewPtrProduceRequest(), kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		req.Acks, req.TimeoutMillis = -1, 5000
		t.Topic, t.TopicID, p.Partition, p.Records = topic, s.ids[topic], partition, batch(s)
		if _, there := s.ids[topic]; !there {
			t.TopicID = unknownID
		}
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		return req
	}
}

// sequenced is a batch of the side's producer.
func sequenced(epoch int16, first int32) func(s *side) []byte {
	return func(s *side) []byte {
		return batchOf(2, func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = s.producer.ProducerID, s.producer.ProducerEpoch+epoch, first
		})
	}
}

func fetch(edit func(*side, *kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) func(s *side) kmsg.Request {
	return func(s *side) kmsg.Request {
		req, t := kmsg.NewPtrFetchRequest(), kmsg.NewFetchRequestTopic()
		req.MaxBytes, req.SessionEpoch, req.MaxWaitMillis = 1<<20, -1, 10
		t.Topic, t.TopicID = "plain", s.ids["plain"]
		t.Partitions = []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}
		t.Partitions[0].PartitionMaxBytes = 1 << 20
		req.Topics = append(req.Topics, t)
		edit(s, req, &t.Partitions[0])
		return req
	}
}

func epochEnd(topic string, partition, epoch int32) kmsg.Request {
	req, t, p := kmsg.NewPtrOffsetForLeaderEpochRequest(), kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	t.Topic, p.Partition, p.LeaderEpoch = topic, partition, epoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func listOffsets(topic string, partition int32, at int64) *kmsg.ListOffsetsRequest {
	req, t, p := kmsg.NewPtrListOffsetsRequest(), kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = topic, partition, at
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func describeProducers(topic string, partition int32) kmsg.Request {
	req, t := kmsg.NewPtrDescribeProducersRequest(), kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, t)
	return req
}
