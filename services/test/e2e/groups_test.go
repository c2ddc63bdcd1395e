package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

const sharedPartitions = 6

// TestMembersOfAllDoorsShareAGroup has clients of Kafka's protocol, of both
// kinds of groups, and streams of each door of moldau.v1 read six partitions
// together while records come and members come, leave and die: every record
// comes, and none again that was committed.
func TestMembersOfAllDoorsShareAGroup(t *testing.T) {
	c := testcluster.Start(t)
	quickGroups(t, c)
	c.CreateTopic(t, "shared", sharedPartitions, keepForever)
	l, produced := newLedger(), make(chan int64)
	ctx, enough := context.WithCancel(testcluster.Context(t))
	defer enough()
	go func() { produced <- produceOn(ctx, l, pb.NewProduceServiceClient(c.Conn(t)), "shared") }()

	generation := kafkaMember(t, l, c, "franz-go, consumer protocol", kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	l.until(t, "one member holds all", func() bool { return l.shares(1, sharedPartitions) })
	stub := streamMember(t, l, grpcConsume(pb.NewConsumeServiceClient(c.Conn(t))))
	l.until(t, "two members share", func() bool { return l.shares(2, sharedPartitions) })
	curl := streamMember(t, l, restConsume(c.HTTP()))
	l.until(t, "three members share", func() bool { return l.shares(3, sharedPartitions) })
	page, web := streamMember(t, l, connectConsume(c.HTTP())), streamMember(t, l, grpcWebConsume(c.HTTP()))
	classic := kafkaMember(t, l, c, "franz-go, classic protocol", kgo.Balancers(kgo.CooperativeStickyBalancer()))
	l.until(t, "six members share", func() bool { return l.shares(6, sharedPartitions) })

	stub.end()    // its stream breaks
	classic.end() // leaves
	web.end()
	l.until(t, "three are left", func() bool { return l.shares(3, sharedPartitions) })
	generation.end()
	stub = streamMember(t, l, grpcConsume(pb.NewConsumeServiceClient(c.Conn(t))))
	l.until(t, "one has left and one has come", func() bool { return l.shares(3, sharedPartitions) })

	enough()
	each := <-produced
	l.until(t, fmt.Sprintf("all %d are committed", each), func() bool {
		for p := range int32(sharedPartitions) {
			if l.committed[p] < each || len(l.seen[p]) != int(each) {
				return false
			}
		}
		return true
	})
	for _, m := range []*process{stub, curl, page} {
		m.end()
	}
}

// quickGroups lets members beat often, so that the test waits for little.
func quickGroups(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.KafkaAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	half := "250"
	answers, err := kadm.NewClient(client).AlterBrokerConfigs(testcluster.Context(t), []kadm.AlterConfig{{Name: "group.consumer.heartbeat.interval.ms", Value: &half}})
	if err != nil || len(answers) != 1 || answers[0].Err != nil {
		t.Fatalf("%v, %v", answers, err)
	}
}

// produceOn produces to all partitions in turn, a record after the other,
// until ctx ends, and returns how many records each has.
func produceOn(ctx context.Context, l *ledger, client pb.ProduceServiceClient, topic string) (each int64) {
	for ctx.Err() == nil {
		for p := range int32(sharedPartitions) {
			req := &pb.ProduceRequest{Topic: topic, Partition: &p, Records: []*pb.Record{{Value: fmt.Appendf(nil, "%d-%d", p, each)}}}
			if resp, err := client.Produce(context.WithoutCancel(ctx), req); err != nil || resp.GetResults()[0].GetError() != nil {
				l.fault("produce: %v, %v", resp, err)
				return each
			}
		}
		each++
	}
	return each
}

// streamMember is a member by one stream, over as many streams as it takes. It
// commits each frame.
func streamMember(t *testing.T, l *ledger, door consumeDoor) *process {
	t.Helper()
	ctx, stop := context.WithCancel(testcluster.Context(t))
	m := &process{name: door.name, stop: stop, done: make(chan struct{})}
	req := &pb.ConsumeRequest{GroupId: "mixed", Topics: []string{"shared"}, ClientId: door.name, Linger: durationpb.New(500 * time.Millisecond)}
	go func() {
		defer close(m.done)
		defer l.gone(m.name)
		for ctx.Err() == nil {
			if err := readShare(ctx, l, door, req); err != nil && ctx.Err() == nil {
				l.fault("%s: %v", m.name, err)
				return
			}
		}
	}()
	t.Cleanup(m.end)
	return m
}

// readShare returns nil where the stream ends by itself.
func readShare(ctx context.Context, l *ledger, door consumeDoor, req *pb.ConsumeRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, err := door.open(ctx, req)
	if err != nil {
		return err
	}
	var member *pb.GroupMember
	for {
		frame, err := next()
		if err != nil {
			return err
		}
		switch f := frame.GetFrame().(type) {
		case *pb.ConsumeResponse_Joined:
			member, req.ResumeToken = f.Joined.GetMember(), f.Joined.GetResumeToken()
			l.holds(door.name, indexes(f.Joined.GetPlaces()))
		case *pb.ConsumeResponse_Assignment:
			member, req.ResumeToken = f.Assignment.GetMember(), f.Assignment.GetResumeToken()
			l.holds(door.name, indexes(f.Assignment.GetPlaces()))
		case *pb.ConsumeResponse_Heartbeat:
			member = f.Heartbeat.GetMember()
		case *pb.ConsumeResponse_Records:
			if err := takeAndCommit(ctx, l, door, member, f.Records); err != nil {
				return err
			}
		case *pb.ConsumeResponse_Reconnect:
			req.ResumeToken = f.Reconnect.GetResumeToken()
			return errors.New(f.Reconnect.GetReason()) // nobody drains here
		}
	}
}

func takeAndCommit(ctx context.Context, l *ledger, door consumeDoor, member *pb.GroupMember, r *pb.ReadRecords) error {
	for _, rec := range r.GetRecords() {
		l.takes(door.name, r.GetPartition(), rec.GetOffset())
	}
	resp, err := door.commit(ctx, &pb.CommitRequest{
		GroupId: "mixed", MemberId: member.GetMemberId(), MemberEpoch: member.GetGeneration(),
		Offsets: []*pb.GroupOffset{{Topic: "shared", Partition: r.GetPartition(), Offset: r.GetNextOffset()}},
	})
	switch {
	case err != nil:
		return err
	case resp.GetOffsets()[0].GetError() == nil:
		l.commits(r.GetPartition(), r.GetNextOffset())
	case resp.GetOffsets()[0].GetError().GetReason() != "STALE_MEMBER_EPOCH": // else it is another's by now
		return fmt.Errorf("commit: %v", resp.GetOffsets()[0].GetError())
	}
	return nil
}

func indexes(places []*pb.ConsumePlace) (list []int32) {
	for _, p := range places {
		list = append(list, p.GetPartition())
	}
	return list
}

// kafkaMember is a member by franz-go. It commits what each poll brings.
func kafkaMember(t *testing.T, l *ledger, c *testcluster.Cluster, name string, opts ...kgo.Opt) *process {
	t.Helper()
	ctx, stop := context.WithCancel(testcluster.Context(t))
	m := &process{name: name, stop: stop, done: make(chan struct{})}
	changes := func(change func(string, []int32)) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			change(name, partitions["shared"])
		}
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.KafkaAddr()), kgo.ConsumerGroup("mixed"), kgo.ConsumeTopics("shared"), kgo.ClientID(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(200 * time.Millisecond), kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(changes(l.gets)), kgo.OnPartitionsRevoked(changes(l.loses)), kgo.OnPartitionsLost(changes(l.loses)),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.done)
		defer l.gone(name)
		defer client.CloseAllowingRebalance()
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			fetches.EachError(func(_ string, p int32, err error) { l.fault("%s: fetch %d: %v", name, p, err) })
			fetches.EachRecord(func(r *kgo.Record) { l.takes(name, r.Partition, r.Offset) })
			if err := client.CommitRecords(context.WithoutCancel(ctx), fetches.Records()...); err == nil {
				fetches.EachRecord(func(r *kgo.Record) { l.commits(r.Partition, r.Offset+1) })
			}
			client.AllowRebalance()
		}
	}()
	t.Cleanup(m.end)
	return m
}
