package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

func TestTheClustersSettingsAreTaken(t *testing.T) {
	got := DefaultConfig().with(map[string]string{
		"group.min.session.timeout.ms": "1", "group.max.session.timeout.ms": "2000", "group.initial.rebalance.delay.ms": "0",
		"group.max.size": "7", "offset.metadata.max.bytes": "8", "offsets.retention.minutes": "9", "offsets.retention.check.interval.ms": "10",
		"group.consumer.session.timeout.ms": "11", "group.consumer.heartbeat.interval.ms": "12", "group.consumer.max.size": "13",
		"group.consumer.assignors":        "org.apache.kafka.coordinator.group.assignor.RangeAssignor,range,mine",
		"group.consumer.migration.policy": "UPGRADE",
	})
	want := Config{
		MinSession: time.Millisecond, MaxSession: 2 * time.Second, MaxSize: 7, MaxMetadataBytes: 8, Retention: 9 * time.Minute, SweepInterval: time.Second,
		ConsumerSession: 11 * time.Millisecond, ConsumerHeartbeat: 12 * time.Millisecond, ConsumerMaxSize: 13, Assignors: []string{"range"}, Upgrade: true,
	}
	if !equalConfigs(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	bad := map[string]string{
		"group.max.size": "-1", "offsets.retention.minutes": "x", "group.max.session.timeout.ms": "99999999999999999999", "group.consumer.assignors": "mine",
	}
	if got := DefaultConfig().with(bad); !equalConfigs(got, DefaultConfig()) {
		t.Errorf("what cannot be was taken: %+v", got)
	}
}

func equalConfigs(a, b Config) bool {
	x, y := a, b
	x.Assignors, y.Assignors = nil, nil
	return fmt.Sprint(x) == fmt.Sprint(y) && slices.Equal(a.Assignors, b.Assignors)
}

func TestRecordsOfNoGroupAreRefused(t *testing.T) {
	for name, r := range map[string]journal.Record{
		"another kind":     {Key: journal.Key(64, "tx"), Value: []byte{1}},
		"too few parts":    {Key: journal.Key(kindOffset, "g")},
		"a bad partition":  {Key: journal.Key(kindOffset, "g", "t", "x")},
		"a bad producer":   {Key: journal.Key(kindPending, "p", "g", "t", "0")},
		"no value of ours": {Key: journal.Key(kindClassic, "g"), Value: []byte{9}},
		"a bad topic id":   journal.Put(kindTarget, &coordinatorv1.TargetRecord{Partitions: []*coordinatorv1.TopicPartitions{{TopicId: []byte{1}}}}, "g", "m"),
		"no key of ours":   {Key: []byte{0}},
	} {
		if err := New(DefaultConfig()).Replay(r); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// FuzzReplay: whatever a journal holds, reading it ends in a state or an error.
func FuzzReplay(f *testing.F) {
	f.Add(journal.Key(kindOffset, "g", "t", "0"), []byte{1})
	f.Add(journal.Key(kindMember, "g", "m"), []byte{1, 0x0a, 1, 'i'})
	f.Add(journal.Key(kindCurrent, "g", "m"), []byte{1, 0x08, 3})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m := New(DefaultConfig())
		if m.Replay(journal.Record{Key: key, Value: value}) == nil {
			m.Step(time.UnixMilli(0), shard.Loaded{View: emptyView()})
			_ = m.Replay(journal.Record{Key: key})
		}
	})
}

func emptyView() *metadataclient.View {
	return &metadataclient.View{
		Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{}, Deleted: map[topicid.ID]string{},
		Settings: &metadataclient.Settings{},
	}
}

// TestNoStepWritesMoreThanAnAppendTakes fills a group with offsets and with
// members' words, and ends a transaction and deletes the group in one step each.
func TestNoStepWritesMoreThanAnAppendTakes(t *testing.T) {
	m, now := New(DefaultConfig()), time.UnixMilli(1_000_000)
	m.Step(now, shard.Loaded{View: emptyView()})
	ticket := shard.Ticket(0)
	ask := func(message any) shard.Reply {
		ticket++
		e := m.Step(now, shard.Request{Ticket: ticket, Message: message, Nonce: [16]byte{byte(ticket), byte(ticket >> 8)}})
		if len(e.Calls) > 0 {
			e = m.Step(now, shard.Result{ID: e.Calls[0].ID, Answer: &coordinatorv1.AddOffsetsResponse{}})
		}
		size := 0
		for _, r := range e.Records {
			size += r.Size()
		}
		if size > m.maxBytes {
			t.Fatalf("%T wrote %d bytes, an append takes %d", message, size, m.maxBytes)
		}
		if len(e.Replies) == 0 {
			return shard.Reply{}
		}
		return e.Replies[0]
	}
	many := func(from, n, metadata int) (list []*coordinatorv1.Offset) {
		for i := range n {
			list = append(list, &coordinatorv1.Offset{Topic: "a-topic-with-a-name", Partition: int32(from + i), Metadata: string(make([]byte, metadata))})
		}
		return list
	}
	refused := false
	for i := range 40 {
		r := ask(&coordinatorv1.CommitOffsetsRequest{GroupId: "g", Generation: -1, Offsets: many(i*1000, 1000, 2000)}).Message.(*coordinatorv1.CommitOffsetsResponse)
		refused = refused || r.GetErrors()[999].GetReason() == string(errcode.ResourceExhausted)
		ask(&coordinatorv1.CommitTransactionOffsetsRequest{
			TransactionalId: "tx", GroupId: "g", Generation: -1, ProducerId: 1, Offsets: many(i*1000, 200, 2000),
		})
	}
	if !refused {
		t.Error("a group takes any number of offsets")
	}
	ask(&coordinatorv1.CompleteOffsetsRequest{ProducerId: 1, ProducerEpoch: 1, TransactionVersion: 2, Commit: true})
	if r := ask(&coordinatorv1.DeleteGroupsRequest{GroupIds: []string{"g"}}); r.Message.(*coordinatorv1.DeleteGroupsResponse).GetErrors()[0].GetReason() != "" {
		t.Errorf("not deleted: %v", r)
	}

	for i := range 40 {
		r := ask(&coordinatorv1.JoinGroupRequest{
			GroupId: "big", ClientId: fmt.Sprint(i), SessionTimeoutMs: 10_000, ProtocolType: "mine",
			Protocols: []*coordinatorv1.Protocol{{Name: "p", Metadata: make([]byte, 100<<10)}},
		})
		if r.Err != nil {
			if !errcode.Is(r.Err, errcode.GroupFull) {
				t.Errorf("got %v", r.Err)
			}
			return
		}
	}
	t.Error("a group takes any number of bytes")
}
