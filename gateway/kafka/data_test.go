package kafka_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The codes of Kafka that these tests expect.
const (
	invalidRecord       = 87
	invalidRequiredAcks = 21
	noSession           = 70
	badSessionEpoch     = 71
)

func fetchAt(topic [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MaxBytes = 17, 0, 1<<20
	req.SessionEpoch = -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	req.Topics = []kmsg.FetchRequestTopic{{TopicID: topic, Partitions: []kmsg.FetchRequestTopicPartition{part}}}
	return req
}

func TestItem3TwoBatchesOfOnePartitionAreRefused(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 2, nil)
	req := produceOf("t", 0, slices.Concat(batch("a"), batch("b")))
	part := req.Topics[0].Partitions[0]
	part.Partition, part.Records = 1, batch("c")
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	got := ask[*kmsg.ProduceResponse](c, req).Topics[0].Partitions
	if got[0].ErrorCode != invalidRecord || got[0].BaseOffset != -1 || got[1].ErrorCode != 0 || got[1].BaseOffset != 0 {
		t.Errorf("%+v", got)
	}
}

// TestItem12Acks: other acks than -1, 0 and 1 are refused; acks 0 is answered by
// nothing, and where something is wrong the connection ends.
func TestItem12Acks(t *testing.T) {
	c := newCluster(t)
	id := c.topic("t", 1, nil)
	for _, acks := range []int16{2, -2} {
		req := produceOf("t", 0, batch("a"))
		req.Acks = acks
		if got := ask[*kmsg.ProduceResponse](c, req).Topics[0].Partitions[0]; got.ErrorCode != invalidRequiredAcks || got.BaseOffset != -1 {
			t.Errorf("acks %d: %+v", acks, got)
		}
	}
	w := dial(t, c.addr)
	silent := produceOf("t", 0, batch("unanswered"))
	silent.Acks = 0
	w.write(silent)
	list := kmsg.NewPtrListOffsetsRequest() // the next answer on the connection is the next request's
	list.Version = 9
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}
	listed, err := w.ask(list)
	check(t, err)
	if got := listed.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
	bad := produceOf("nowhere", 0, batch("lost"))
	bad.Acks = 0
	w.write(bad)
	w.closed()
	var values []byte
	for range 100 { // nobody says when it is there
		got := ask[*kmsg.FetchResponse](c, fetchAt(id, 0, 0)).Topics[0].Partitions[0]
		if values = got.RecordBatches; len(values) > 0 {
			break
		}
	}
	if !bytes.Contains(values, []byte("unanswered")) {
		t.Errorf("%q", values)
	}
}

// TestItem15AnswersTellWhereTheLogStarts, and item 36: an offset within a batch
// brings the whole batch.
func TestItem15AnswersTellWhereTheLogStarts(t *testing.T) {
	c := newCluster(t)
	id := c.topic("t", 1, nil)
	whole := batch("a", "b", "c", "d")
	ask[*kmsg.ProduceResponse](c, produceOf("t", 0, whole))
	trim := kmsg.NewPtrDeleteRecordsRequest()
	trim.Version = 2
	trim.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 2}}}}
	ask[*kmsg.DeleteRecordsResponse](c, trim)
	if got := ask[*kmsg.ProduceResponse](c, produceOf("t", 0, batch("e"))).Topics[0].Partitions[0]; got.LogStartOffset != 2 || got.BaseOffset != 4 {
		t.Errorf("produce: %+v", got)
	}
	got := ask[*kmsg.FetchResponse](c, fetchAt(id, 0, 3)).Topics[0].Partitions[0]
	if got.LogStartOffset != 2 || got.ErrorCode != 0 || !bytes.HasPrefix(got.RecordBatches[21:], whole[21:]) {
		t.Errorf("fetch: %+v", got)
	}
	if got := ask[*kmsg.FetchResponse](c, fetchAt(id, 0, 1)).Topics[0].Partitions[0]; got.ErrorCode != offsetOutOfRange {
		t.Errorf("fetch before the start: %+v", got)
	}
}

// TestItem40FetchSessions: an incremental answer has what changed, a partition
// that is forgotten is in none, and what is not the session's next is refused.
func TestItem40FetchSessions(t *testing.T) {
	c := newCluster(t)
	id := c.topic("t", 2, nil)
	w := dial(t, c.addr)
	fetch := func(session, epoch int32, edit func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		t.Helper()
		req := fetchAt(id, 0, 0)
		req.SessionID, req.SessionEpoch = session, epoch
		second := req.Topics[0].Partitions[0]
		second.Partition = 1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
		if edit != nil {
			edit(req)
		}
		got, err := w.ask(req)
		check(t, err)
		return got.(*kmsg.FetchResponse)
	}
	nothing := func(r *kmsg.FetchRequest) { r.Topics = nil }
	parts := func(r *kmsg.FetchResponse) (list []int32) {
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				list = append(list, p.Partition)
			}
		}
		return list
	}
	first := fetch(0, 0, nil)
	if first.SessionID == 0 || len(parts(first)) != 2 {
		t.Fatalf("%+v", first)
	}
	if got := fetch(first.SessionID, 1, nothing); got.ErrorCode != 0 || len(parts(got)) != 0 {
		t.Errorf("nothing has changed: %+v", got)
	}
	check(t, c.client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(t.Context(),
		&kgo.Record{Partition: 0, Value: []byte("a")}, &kgo.Record{Partition: 1, Value: []byte("b")}).FirstErr())
	forget := func(r *kmsg.FetchRequest) {
		r.Topics = nil
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: id, Partitions: []int32{0}}}
	}
	if got := fetch(first.SessionID, 2, forget); got.ErrorCode != 0 || !slices.Equal(parts(got), []int32{1}) {
		t.Errorf("without the forgotten one: %+v", got)
	}
	if got := fetch(first.SessionID, 9, nothing); got.ErrorCode != badSessionEpoch || got.SessionID != 0 {
		t.Errorf("another epoch: %+v", got)
	}
	if got := fetch(first.SessionID+1, 1, nothing); got.ErrorCode != noSession {
		t.Errorf("another session: %+v", got)
	}
	if got := fetch(first.SessionID, -1, nil); got.ErrorCode != 0 || got.SessionID != 0 || len(parts(got)) != 2 {
		t.Errorf("closing it: %+v", got)
	}
	if got := fetch(first.SessionID, 3, nothing); got.ErrorCode != noSession {
		t.Errorf("after it was closed: %+v", got)
	}
}

// TestItem41ATopicMadeAnewIsAnother.
func TestItem41ATopicMadeAnewIsAnother(t *testing.T) {
	c := newCluster(t)
	old := c.topic("t", 1, nil)
	_, err := c.admin().DeleteTopics(t.Context(), "t")
	check(t, err)
	now := c.topic("t", 1, nil)
	if old == now {
		t.Fatal("the id is the old one's")
	}
	if got := ask[*kmsg.FetchResponse](c, fetchAt(old, 0, 0)).Topics[0].Partitions[0]; got.ErrorCode != unknownTopicID {
		t.Errorf("by the old id: %+v", got)
	}
	if got := ask[*kmsg.FetchResponse](c, fetchAt(now, 0, 0)).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Errorf("by the new id: %+v", got)
	}
}
