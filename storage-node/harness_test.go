package storagenode

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// fakeMetadata is a controller of one node that says yes to everything.
type fakeMetadata struct {
	metadataclient.Client // what a node never calls

	mu      sync.Mutex
	view    *metadataclient.View
	changed chan struct{}
	epoch   int64
	asked   []*metadatav1.RegisterNodeRequest
	beats   []*metadatav1.HeartbeatRequest
}

func newFakeMetadata() *fakeMetadata {
	return &fakeMetadata{changed: make(chan struct{}), view: &metadataclient.View{
		ClusterID: "cluster", Revision: 1,
		Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{},
		Nodes: map[int32]*metadataclient.Node{}, Deleted: map[topicid.ID]string{},
	}}
}

func (m *fakeMetadata) View() *metadataclient.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

func (m *fakeMetadata) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *fakeMetadata) WaitRevision(context.Context, int64) error { return nil }

// change makes a new view; edit may change its maps, but nothing they hold.
func (m *fakeMetadata) change(edit func(v *metadataclient.View)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := *m.view
	v.Revision++
	v.Topics, v.TopicsByID = maps.Clone(v.Topics), maps.Clone(v.TopicsByID)
	v.Nodes, v.Deleted = maps.Clone(v.Nodes), maps.Clone(v.Deleted)
	edit(&v)
	m.view = &v
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *fakeMetadata) RegisterNode(_ context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, req)
	m.epoch++
	return &metadatav1.RegisterNodeResponse{NodeEpoch: m.epoch, Revision: m.view.Revision, ClusterId: m.view.ClusterID}, nil
}

func (m *fakeMetadata) Heartbeat(_ context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beats = append(m.beats, req)
	return &metadatav1.HeartbeatResponse{Revision: m.view.Revision, Fenced: req.Draining}, nil
}

// create adds a topic led by node 1 and returns its id.
func (m *fakeMetadata) create(name string, partitions int, configs map[string]string) topicid.ID {
	t := &metadataclient.Topic{ID: topicid.New(), Name: name, Configs: configs}
	for range partitions {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: 1, LeaderEpoch: 3, Replicas: []int32{1}, ISR: []int32{1}})
	}
	m.put(t)
	return t.ID
}

func (m *fakeMetadata) put(t *metadataclient.Topic) {
	m.change(func(v *metadataclient.View) { v.Topics[t.Name], v.TopicsByID[t.ID] = t, t })
}

func (m *fakeMetadata) remove(name string, tombstone bool) {
	m.change(func(v *metadataclient.View) {
		t := v.Topics[name]
		delete(v.Topics, name)
		delete(v.TopicsByID, t.ID)
		if tombstone {
			v.Deleted[t.ID] = name
		}
	})
}

// cluster is one node with its disk, clock and controller; the node may be
// stopped, killed and started again on the same disk.
type cluster struct {
	t     testing.TB
	fs    vfs.FS
	clock *clock.Manual
	meta  *fakeMetadata
	node  *Service
	edit  func(*Config)
}

func newCluster(t testing.TB, fs vfs.FS) *cluster {
	c := &cluster{t: t, fs: fs, clock: clock.NewManual(noon), meta: newFakeMetadata()}
	t.Cleanup(func() {
		if c.node != nil {
			c.stop()
		}
	})
	return c
}

func (c *cluster) newNode() *Service {
	c.t.Helper()
	cfg := DefaultConfig()
	cfg.NodeID, cfg.DataDir = 1, "/data"
	if c.edit != nil {
		c.edit(&cfg)
	}
	s, err := NewService(cfg, Deps{Clock: c.clock, Log: slog.New(slog.DiscardHandler), Metadata: c.meta, FS: c.fs})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cluster) start() *Service {
	c.t.Helper()
	c.node = c.newNode()
	if err := c.node.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return c.node
}

func (c *cluster) stop() {
	c.t.Helper()
	if err := c.node.Stop(context.Background()); err != nil {
		c.t.Error(err)
	}
	c.node = nil
}

// kill ends the node's goroutines and lets go of its lock, as the death of the
// process would; it writes nothing.
func (c *cluster) kill() {
	c.node.halt()
	_ = c.node.lock.Close()
	c.node = nil
}

// batch is n records with the given value, stamped noon.
func batch(t testing.TB, n int, value string, edit ...func(*record.BuilderOptions)) []byte {
	t.Helper()
	opts := record.DefaultBuilderOptions()
	for _, e := range edit {
		e(&opts)
	}
	b := record.NewBuilder(opts)
	for range n {
		b.Append(&record.Record{Timestamp: noon.UnixMilli(), Key: []byte("k"), Value: []byte(value)})
	}
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func idempotent(pid int64, epoch int16, seq int32) func(*record.BuilderOptions) {
	return func(o *record.BuilderOptions) { o.ProducerID, o.ProducerEpoch, o.BaseSequence = pid, epoch, seq }
}

func pid(topic topicid.ID, index int32) storageclient.PartitionID {
	return storageclient.PartitionID{Topic: topic, Index: index}
}

func appendTo(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, b []byte, acks storageclient.Acks) storageclient.AppendResult {
	t.Helper()
	resp, err := s.Append(t.Context(), &storageclient.AppendRequest{Acks: acks, Partitions: []storageclient.AppendPartition{
		{PartitionID: id, LeaderEpoch: -1, Batch: b},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Results[0]
}

// mustAppend appends with acks all and returns the base offset.
func mustAppend(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, b []byte) int64 {
	t.Helper()
	r := appendTo(t, s, id, b, storageclient.AcksAll)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.BaseOffset
}

// fetchFrom reads what is there now and returns a copy.
func fetchFrom(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, offset int64) storageclient.FetchResult {
	t.Helper()
	resp, err := s.Fetch(t.Context(), &storageclient.FetchRequest{MaxBytes: 50 << 20, Partitions: []storageclient.FetchPartition{
		{PartitionID: id, LeaderEpoch: -1, Offset: offset, MaxBytes: 50 << 20},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Release()
	r := resp.Results[0]
	r.Batches = append([]byte(nil), r.Batches...)
	return r
}

// values returns the values of all records, by offset.
func values(t testing.TB, batches []byte) map[int64]string {
	t.Helper()
	got := map[int64]string{}
	for len(batches) > 0 {
		one, rest, _, err := record.Next(batches)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := record.Verify(one); err != nil {
			t.Fatal(err)
		}
		err = record.ForEach(one, record.DefaultLimits(), func(r *record.Record) error {
			got[r.Offset] = string(r.Value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		batches = rest
	}
	return got
}
