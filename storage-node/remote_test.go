package storagenode

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"moldau.dev/metadata/metadataclient"
	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

// serve listens for s on loopback and returns the address.
func serve(t testing.TB, s *Service) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := transport.NewServer(transport.Options{MaxRecvBytes: 64 << 20})
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func dial(t testing.TB, addr string) *storageclient.Remote {
	t.Helper()
	r, err := storageclient.Dial(addr, transport.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// journey drives one door through every call and returns all it answered.
func journey(t *testing.T, s storageclient.Storage, topic topicid.ID) []any {
	t.Helper()
	var told []any
	note := func(v any, err error) {
		told = append(told, v, errcode.ReasonOf(err))
	}
	zero := int64(0)
	req := &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{
		{PartitionID: pid(topic, 0), LeaderEpoch: 3, Batch: batch(t, 3, "a", idempotent(1, 0, 0)), ExpectedOffset: &zero},
		{PartitionID: pid(topic, 1), LeaderEpoch: 9, Batch: batch(t, 3, "b")},
		{PartitionID: pid(topic, 1), LeaderEpoch: -1, Batch: batch(t, 500, "c is longer than a pooled buffer's least")},
	}}
	note(s.Append(t.Context(), req))
	note(s.Append(t.Context(), req))
	for _, offset := range []int64{0, 2, 3, 4} {
		resp, err := s.Fetch(t.Context(), &storageclient.FetchRequest{MinBytes: 1, MaxBytes: 1 << 20, Partitions: []storageclient.FetchPartition{
			{PartitionID: pid(topic, 0), LeaderEpoch: -1, Offset: offset, MaxBytes: 1 << 20},
			{PartitionID: pid(topic, 1), LeaderEpoch: 3, Offset: 0, MaxBytes: 1 << 20},
			{PartitionID: pid(topic, 2), LeaderEpoch: 3, Offset: 0, MaxBytes: 1 << 20},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.Results {
			r.Batches = append([]byte{}, r.Batches...)
			note(r, nil)
		}
		resp.Release()
	}
	for _, at := range []int64{storageclient.Latest, storageclient.Earliest, storageclient.MaxTimestamp, noon.UnixMilli(), -9} {
		note(s.ListOffsets(t.Context(), &storageclient.ListOffsetsRequest{Partitions: []storageclient.ListOffsetsPartition{{PartitionID: pid(topic, 0), LeaderEpoch: -1, Timestamp: at}}}))
	}
	for _, before := range []int64{1, -1, 99} {
		note(s.DeleteRecords(t.Context(), &storageclient.DeleteRecordsRequest{Partitions: []storageclient.DeleteRecordsPartition{{PartitionID: pid(topic, 0), BeforeOffset: before}}}))
	}
	note(s.DescribeReplicas(t.Context(), []topicid.ID{topic}))
	for _, epoch := range []int32{-1, 2, 3, 9} {
		note(s.OffsetsForEpoch(t.Context(), &storageclient.OffsetsForEpochRequest{Partitions: []storageclient.OffsetsForEpochPartition{
			{PartitionID: pid(topic, 0), LeaderEpoch: 3, Epoch: epoch}, {PartitionID: pid(topic, 2), LeaderEpoch: -1, Epoch: epoch},
		}}))
	}
	note(s.WriteMarkers(t.Context(), &storageclient.WriteMarkersRequest{Markers: []storageclient.Marker{
		{ProducerID: 1, ProducerEpoch: 1, CoordinatorEpoch: 2, TransactionVersion: 2, Commit: true, Partitions: []storageclient.PartitionID{pid(topic, 0), pid(topic, 2)}},
		{ProducerID: 1, ProducerEpoch: 0, CoordinatorEpoch: 1, TransactionVersion: 1, Partitions: []storageclient.PartitionID{pid(topic, 0)}},
	}}))
	note(s.WriteMarkers(t.Context(), &storageclient.WriteMarkersRequest{Markers: []storageclient.Marker{{ProducerID: -1}}}))
	note(s.Append(t.Context(), &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{
		{PartitionID: pid(topic, 0), LeaderEpoch: -1, Batch: batch(t, 1, "t", transactional(1, 1, 3)), Guard: 1 << 62, TransactionVersion: 2},
		{PartitionID: pid(topic, 0), LeaderEpoch: -1, Batch: batch(t, 1, "t", transactional(1, 0, 3))},
	}}))
	note(s.DescribeProducers(t.Context(), []storageclient.PartitionID{pid(topic, 0), pid(topic, 1), pid(topic, 2)}))
	return told
}

// sameGuards lets guards differ, which each life of a leader counts from a
// number of its own, but not be there for one and missing for the other.
var sameGuards = cmp.FilterPath(
	func(p cmp.Path) bool { return p.Last().String() == ".VerifyGuard" },
	cmp.Comparer(func(a, b int64) bool { return (a == 0) == (b == 0) }),
)

// sameErrors compares what a caller sees of an error.
var sameErrors = cmp.Comparer(func(a, b error) bool {
	x, y := errcode.Of(a), errcode.Of(b)
	if x == nil || y == nil {
		return x == y
	}
	return x.Reason == y.Reason && x.Message == y.Message && cmp.Equal(x.Metadata, y.Metadata)
})

func TestRemoteDoorAnswersAsTheLocalOne(t *testing.T) {
	topic := topicid.New()
	var told [2][]any
	for i := range told {
		c := newCluster(t, newDisk())
		part := metadataclient.Partition{Leader: 1, LeaderEpoch: 3, Replicas: []int32{1}, ISR: []int32{1}}
		c.meta.put(&metadataclient.Topic{ID: topic, Name: "orders", Partitions: []metadataclient.Partition{part, part}})
		s := c.start()
		door := s.Storage()
		if i == 1 {
			door = dial(t, serve(t, s))
		}
		told[i] = journey(t, door, topic)
	}
	if diff := cmp.Diff(told[0], told[1], sameErrors, sameGuards, cmp.AllowUnexported(storageclient.FetchResponse{})); diff != "" {
		t.Fatalf("local and remote differ (-local +remote):\n%s", diff)
	}
}

func TestGeneratedStubCanCallTheNode(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	conn, err := grpc.NewClient(serve(t, c.start()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stub, b := storagev1.NewStorageServiceClient(conn), batch(t, 2, "x")
	done, err := stub.Append(t.Context(), &storagev1.AppendRequest{Batches: b, Partitions: []*storagev1.AppendPartition{
		{TopicId: id.Topic[:], LeaderEpoch: -1, SizeBytes: int32(len(b))},
	}})
	if err != nil || done.Results[0].Error != nil {
		t.Fatal(done, err)
	}
	got, err := stub.Fetch(t.Context(), &storagev1.FetchRequest{MaxBytes: 1 << 20, Partitions: []*storagev1.FetchPartition{
		{TopicId: id.Topic[:], LeaderEpoch: -1, MaxBytes: 1 << 20},
	}})
	if err != nil || len(values(t, got.Batches)) != 2 || int(got.Results[0].SizeBytes) != len(got.Batches) {
		t.Fatal(got, err)
	}
	b[0]++
	_, err = stub.Append(t.Context(), &storagev1.AppendRequest{Batches: b, Partitions: []*storagev1.AppendPartition{
		{TopicId: id.Topic[:], LeaderEpoch: -1, SizeBytes: int32(len(b) + 1)},
	}})
	if !errcode.Is(err, errcode.InvalidArgument) {
		t.Fatalf("sizes that lie: %v", err)
	}
}

func TestFetchBudgetIsGivenBackOnceTheAnswerIsWritten(t *testing.T) {
	c := newCluster(t, newDisk())
	c.edit = func(cfg *Config) { cfg.MaxFetchBytes, cfg.MaxInFlightBytes = 1<<20, 1<<20 }
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	far := dial(t, serve(t, s))
	mustAppend(t, far, id, batch(t, 1000, "a value of some length, so that the answer is a pooled buffer"))
	for range 200 { // far more than the budget, were it not given back
		if r := fetchFrom(t, far, id, 0); r.Err != nil || len(values(t, r.Batches)) != 1000 {
			t.Fatalf("got %d bytes, %v", len(r.Batches), r.Err)
		}
	}
}

func TestPoolTakesTheShortPathAndFollowsAddresses(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 1, nil)
	s := c.start()
	addr := serve(t, s)
	pool := storageclient.NewPool(c.meta.View, transport.DialOptions{})
	defer func() { _ = pool.Close() }()
	if _, err := pool.Node(1); !errcode.Is(err, errcode.NodeUnavailable) {
		t.Fatalf("a node that nobody knows: %v", err)
	}
	c.meta.change(func(v *metadataclient.View) { v.Nodes[1] = &metadataclient.Node{ID: 1, Address: addr} })
	far, err := pool.Node(1)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, far, pid(topic, 0), batch(t, 1, "x"))
	if same, _ := pool.Node(1); same != far {
		t.Fatal("a second look-up connected anew")
	}
	c.meta.change(func(v *metadataclient.View) { delete(v.Nodes, 1) })
	if _, err := pool.Node(1); !errcode.Is(err, errcode.NodeUnavailable) {
		t.Fatalf("a node that is gone: %v", err)
	}
	if _, err := far.DescribeReplicas(t.Context(), nil); err == nil {
		t.Fatal("the connections to a node that is gone are open")
	}
	pool.AddLocal(1, s)
	if near, err := pool.Node(1); err != nil || near != storageclient.Storage(s) {
		t.Fatalf("the node of this process is reached by %T, %v", near, err)
	}
}
