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

// TestATargetThatTakesManyAppendsIsWrittenInSteps: members of a consumer group
// share more than one append takes. No step writes more than that, each
// partition comes to one member, and an owner that reads the journal as it is
// after any of the steps comes to the same.
func TestATargetThatTakesManyAppendsIsWrittenInSteps(t *testing.T) {
	const members, topics, few, many, most = 60, 5, 12, 8400, 64 << 10
	small := viewOf(topics, few)
	small.Topics[OffsetsTopic] = &metadataclient.Topic{Name: OffsetsTopic, ID: topicid.New(), Configs: map[string]string{"max.message.bytes": fmt.Sprint(most)}}
	w := newGroupWorld(t, small)
	largest := 0
	w.look = func(e *shard.Effects) {
		size := 0
		for _, r := range e.Records {
			size += r.Size()
		}
		if largest = max(largest, size); size > most {
			t.Fatalf("a step wrote %d bytes, an append takes %d", size, most)
		}
	}
	for i := range members {
		w.beat(fmt.Sprint("m", i), 0)
	}
	w.settle(members)
	w.wantShared(topics * few)

	before := len(w.journal)
	large := grown(small, many)
	w.view = large
	w.step(shard.View{View: large})
	w.beat("m0", w.machine.groups["g"].(*consumerGroup).members["m0"].epoch)
	if w.machine.groups["g"].state() != "Assigning" {
		t.Errorf("the group is %s after one step: its targets are not large", w.machine.groups["g"].state())
	}
	w.settle(members)
	w.wantShared(topics * many)
	for n := before; n <= len(w.journal); n += 23 {
		again := newGroupWorld(t, large, w.journal[:n]...)
		again.beatAll(members)
		again.settle(members)
		again.wantShared(topics * many)
	}
	if largest < most/4 {
		t.Errorf("no step wrote more than %d bytes: nothing was large", largest)
	}
}

// TestAShareThatNoRecordTakesIsRefused: GROUP_FULL, and who came is no member.
func TestAShareThatNoRecordTakesIsRefused(t *testing.T) {
	view := viewOf(1, 4000)
	view.Topics[OffsetsTopic] = &metadataclient.Topic{Name: OffsetsTopic, ID: topicid.New(), Configs: map[string]string{"max.message.bytes": "16384"}}
	w := newGroupWorld(t, view)
	if r := w.beat("m", 0); !errcode.Is(r.Err, errcode.GroupFull) {
		t.Errorf("got %v, %v", r.Message, r.Err)
	}
	if g := w.machine.groups["g"]; g == nil || !g.isEmpty() {
		t.Errorf("the group: %v", g)
	}
	r := w.ask(&coordinatorv1.HeartbeatMemberRequest{
		GroupId: "g", MemberId: "n", RebalanceTimeoutMs: 1000, Subscription: &coordinatorv1.Subscription{HasTopics: true, Topics: []string{string(make([]byte, 5000))}},
	})
	if !errcode.Is(r.Err, errcode.GroupFull) {
		t.Errorf("got %v, %v", r.Message, r.Err)
	}
}

// grown is a view whose users' topics have more partitions.
func grown(v *metadataclient.View, partitions int) *metadataclient.View {
	next := emptyView()
	for name, topic := range v.Topics {
		if t := *topic; len(t.Partitions) > 0 {
			t.Partitions = make([]metadataclient.Partition, partitions)
			topic = &t
		}
		next.Topics[name], next.TopicsByID[topic.ID] = topic, topic
	}
	return next
}

func viewOf(topics, partitions int) *metadataclient.View {
	v := emptyView()
	for i := range topics {
		topic := &metadataclient.Topic{Name: fmt.Sprint("t", i), ID: topicid.New(), Partitions: make([]metadataclient.Partition, partitions)}
		v.Topics[topic.Name], v.TopicsByID[topic.ID] = topic, topic
	}
	return v
}

// groupWorld is a machine whose members beat.
type groupWorld struct {
	*testing.T
	machine *Machine
	view    *metadataclient.View
	now     time.Time
	ticket  shard.Ticket
	journal []journal.Record
	look    func(*shard.Effects)
}

func newGroupWorld(t *testing.T, v *metadataclient.View, before ...journal.Record) *groupWorld {
	t.Helper()
	w := &groupWorld{T: t, machine: New(DefaultConfig()), view: v, now: time.UnixMilli(1_000_000), look: func(*shard.Effects) {}}
	for _, r := range before {
		if err := w.machine.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	w.step(shard.Loaded{View: v})
	return w
}

func (w *groupWorld) step(e shard.Event) shard.Effects {
	effects := w.machine.Step(w.now, e)
	w.look(&effects)
	w.journal = append(w.journal, effects.Records...)
	return effects
}

func (w *groupWorld) ask(message any) shard.Reply {
	w.ticket++
	return w.step(shard.Request{Ticket: w.ticket, Message: message}).Replies[0]
}

func (w *groupWorld) beat(member string, epoch int32) shard.Reply {
	q := &coordinatorv1.HeartbeatMemberRequest{GroupId: "g", MemberId: member, MemberEpoch: epoch, RebalanceTimeoutMs: -1}
	if epoch == 0 {
		q.RebalanceTimeoutMs = 300_000
		q.Subscription = &coordinatorv1.Subscription{HasTopics: true}
		for name := range w.view.Topics {
			if name != OffsetsTopic {
				q.Subscription.Topics = append(q.Subscription.Topics, name)
			}
		}
	} else if g, ok := w.machine.groups["g"].(*consumerGroup); ok && g.members[member] != nil {
		q.Owned = &coordinatorv1.Ownership{Partitions: partitionsToProto(g.members[member].assigned.partitions())}
	}
	return w.ask(q)
}

// beatAll has each member beat once, in the epoch that it is in.
func (w *groupWorld) beatAll(members int) {
	w.Helper()
	for i := range members {
		member := fmt.Sprint("m", i)
		if r := w.beat(member, w.machine.groups["g"].(*consumerGroup).members[member].epoch); r.Err != nil {
			w.Fatal(r.Err)
		}
	}
}

// settle lets time pass and members beat until all have what they shall.
func (w *groupWorld) settle(members int) {
	w.Helper()
	for range 50 {
		w.now = w.now.Add(time.Second)
		w.step(shard.Tick{})
		g := w.machine.groups["g"].(*consumerGroup)
		if g.state() == "Stable" {
			return
		}
		w.beatAll(members)
	}
	w.Fatal("the group comes to no rest")
}

// wantShared checks that each of so many partitions is some member's.
func (w *groupWorld) wantShared(n int) {
	w.Helper()
	owners := map[partition]string{}
	for id, x := range w.machine.groups["g"].(*consumerGroup).members {
		for _, p := range x.assigned.partitions() {
			if other, taken := owners[p]; taken {
				w.Errorf("%v is of %s and %s", p, other, id)
			}
			owners[p] = id
		}
	}
	if len(owners) != n {
		w.Errorf("%d partitions have owners, of %d", len(owners), n)
	}
}
