package cluster

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// transaction is one that is open while its partition's leader is killed.
type transaction struct {
	name     string // of its records, and its id
	versions *kversion.Versions
	commits  bool
	client   *kgo.Client
	first    int64 // its first offset
	producer int64
}

// TestOpenTransactionsSurviveTheirLeader: the leader of a partition with open
// transactions of both protocol versions (T7) is killed. The new one knows them
// from what it replicated: it holds back the same (T12), takes more of them, and
// ends them as their producers say. A node that was away meanwhile and leads
// then tells the same, aborted list included.
func TestOpenTransactionsSurviveTheirLeader(t *testing.T) {
	c := start(t, "ledger", testcluster.WithEnv("MOLDAU_METADATA_DEFAULT_REPLICATION_FACTOR=3")) // coordinators' journals too
	open := []*transaction{
		{name: "version-1-commits", versions: kversion.V3_7_0(), commits: true},
		{name: "version-1-aborts", versions: kversion.V3_7_0()},
		{name: "version-2-commits", versions: kversion.V4_0_0(), commits: true},
		{name: "version-2-aborts", versions: kversion.V4_0_0()},
	}
	before := begin(t, c, &transaction{name: "before", versions: kversion.V4_0_0(), commits: true})
	before.produce(t)
	before.end(t)
	for _, x := range open {
		begin(t, c, x).first = x.produce(t)
	}
	plain, err := kgo.NewClient(kgo.SeedBrokers(c.KafkaAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.ProduceSync(testcluster.Context(t), &kgo.Record{Topic: "ledger", Value: []byte("plain")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	wantCommitted(t, plain, open[0].first, "before")

	first := killLeader(t, c)
	wantCommitted(t, plain, open[0].first, "before")
	for _, x := range open {
		x.producer = openSince(t, plain, x.first)
		x.produce(t)
	}
	for _, x := range open {
		x.end(t)
	}
	want := []string{"before", "version-1-commits", "version-2-commits", "plain", "version-1-commits", "version-2-commits"}
	wantCommitted(t, plain, allEnded(t, plain), want...)
	wantAborted(t, plain, open[1], open[3])

	c.StartMember(t, first)
	awaitPartition(t, c, "ledger", "in sync on all", allInSync)
	killLeader(t, c)
	wantCommitted(t, plain, allEnded(t, plain), want...)
	wantAborted(t, plain, open[1], open[3])
	for _, x := range open { // and its producer goes on
		if err := x.client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		x.commits = true
		x.produce(t)
		x.end(t)
	}
	wantCommitted(t, plain, allEnded(t, plain), append(want, "version-1-commits", "version-1-aborts", "version-2-commits", "version-2-aborts")...)
}

func begin(t *testing.T, c *testcluster.Cluster, x *transaction) *transaction {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.KafkaAddr()), kgo.TransactionalID(x.name), kgo.MaxVersions(x.versions))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if x.client = client; client.BeginTransaction() != nil {
		t.Fatalf("begin %s", x.name)
	}
	return x
}

func (x *transaction) produce(t *testing.T) (offset int64) {
	t.Helper()
	r, err := x.client.ProduceSync(testcluster.Context(t), &kgo.Record{Topic: "ledger", Value: []byte(x.name)}).First()
	if err != nil {
		t.Fatalf("%s: %v", x.name, err)
	}
	return r.Offset
}

func (x *transaction) end(t *testing.T) {
	t.Helper()
	if err := x.client.EndTransaction(testcluster.Context(t), kgo.TransactionEndTry(x.commits)); err != nil {
		t.Fatalf("end %s: %v", x.name, err)
	}
}

// killLeader kills the leader of the partition and waits until another leads.
func killLeader(t *testing.T, c *testcluster.Cluster) testcluster.Member {
	t.Helper()
	old := partition(t, c, "ledger").GetLeaderId()
	c.Member(t, storageNode(old)).Kill()
	awaitPartition(t, c, "ledger", "led by another", func(p *pb.Partition) bool { return p.GetLeaderId() >= 0 && p.GetLeaderId() != old })
	return storageNode(old)
}

// request asks until the partition's leader answers.
func request[R any](t *testing.T, ask func() (R, error)) R {
	t.Helper()
	for {
		r, err := ask()
		if err == nil {
			return r
		}
		if testcluster.Context(t).Err() != nil || !kerr.IsRetriable(err) {
			t.Fatal(err)
		}
	}
}

func highWatermark(t *testing.T, client *kgo.Client) int64 {
	t.Helper()
	return endOffset(t, kadm.NewClient(client).ListEndOffsets)
}

func endOffset(t *testing.T, list func(context.Context, ...string) (kadm.ListedOffsets, error)) int64 {
	t.Helper()
	return request(t, func() (int64, error) {
		offsets, err := list(testcluster.Context(t), "ledger")
		if err != nil {
			return 0, err
		}
		at, _ := offsets.Lookup("ledger", 0)
		return at.Offset, at.Err
	})
}

// allEnded waits for the markers of all transactions, after which nothing is held
// back (T12), and returns the high watermark.
func allEnded(t *testing.T, client *kgo.Client) int64 {
	t.Helper()
	for {
		stable, high := lastStable(t, client), highWatermark(t, client)
		if stable == high {
			return high
		}
		if testcluster.Context(t).Err() != nil {
			t.Fatalf("the last stable offset is %d, the high watermark %d", stable, high)
		}
	}
}

func lastStable(t *testing.T, client *kgo.Client) int64 {
	t.Helper()
	return endOffset(t, kadm.NewClient(client).ListCommittedOffsets)
}

// wantCommitted checks the last stable offset, and what a committed read finds
// up to it.
func wantCommitted(t *testing.T, client *kgo.Client, stable int64, values ...string) {
	t.Helper()
	if last := lastStable(t, client); last != stable {
		t.Errorf("the last stable offset is %d, want %d", last, stable)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(client.OptValue(kgo.SeedBrokers).([]string)...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"ledger": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var got []string
	for next := int64(0); next < stable; {
		fetches := reader.PollFetches(testcluster.Context(t))
		if testcluster.Context(t).Err() != nil {
			t.Fatalf("read up to %d of %d: %v", next, stable, got)
		}
		for r := range fetches.RecordsAll() {
			if next = r.Offset + 1; !r.Attrs.IsControl() {
				got = append(got, string(r.Value))
			}
		}
	}
	if !slices.Equal(got, values) {
		t.Errorf("committed are %q, want %q", got, values)
	}
}

// openSince returns the producer whose transaction is open since an offset.
func openSince(t *testing.T, client *kgo.Client, offset int64) int64 {
	t.Helper()
	resp := request(t, func() (kadm.DescribedProducersPartition, error) {
		list, err := kadm.NewClient(client).DescribeProducers(testcluster.Context(t), kadm.TopicsSet{"ledger": {0: {}}})
		if err != nil {
			return kadm.DescribedProducersPartition{}, err
		}
		return list["ledger"].Partitions[0], list["ledger"].Partitions[0].Err
	})
	for _, p := range resp.ActiveProducers {
		if p.CurrentTxnStartOffset == offset {
			return p.ProducerID
		}
	}
	t.Fatalf("no transaction is open since %d: %v", offset, resp.ActiveProducers)
	return 0
}

// wantAborted checks the aborted list of a read of the whole partition: by first
// offset (item 28).
func wantAborted(t *testing.T, client *kgo.Client, aborted ...*transaction) {
	t.Helper()
	resp := request(t, func() (*kmsg.FetchResponse, error) {
		meta, err := kadm.NewClient(client).Metadata(testcluster.Context(t), "ledger")
		if err != nil {
			return nil, err
		}
		req := kmsg.NewPtrFetchRequest()
		req.IsolationLevel, req.MaxBytes, req.SessionEpoch = 1, 1<<20, -1
		part := kmsg.NewFetchRequestTopicPartition()
		part.PartitionMaxBytes = 1 << 20
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.TopicID, topic.Partitions = "ledger", meta.Topics["ledger"].ID, append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		resp, err := client.Broker(int(meta.Topics["ledger"].Partitions[0].Leader)).Request(testcluster.Context(t), req)
		if err != nil {
			return nil, err
		}
		fetched := resp.(*kmsg.FetchResponse)
		return fetched, kerr.ErrorForCode(fetched.Topics[0].Partitions[0].ErrorCode)
	})
	var got, want [][2]int64
	for _, a := range resp.Topics[0].Partitions[0].AbortedTransactions {
		got = append(got, [2]int64{a.ProducerID, a.FirstOffset})
	}
	for _, x := range aborted {
		want = append(want, [2]int64{x.producer, x.first})
	}
	if !slices.Equal(got, want) {
		t.Errorf("aborted are %v, want %v", got, want)
	}
}
