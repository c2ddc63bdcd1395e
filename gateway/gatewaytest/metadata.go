// Package gatewaytest has what stands below a gateway, in memory: metadata
// that a test moves by hand and storage that it can make fail. It is for the
// tests of gateway and its folders; whole clusters are in services/test.
package gatewaytest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// Metadata is a metadataclient.Client whose state is set by the test and by
// the admin calls that come through it.
type Metadata struct {
	mu      sync.Mutex
	view    *metadataclient.View
	changed chan struct{}
	nextID  int64
}

var _ metadataclient.Client = (*Metadata)(nil)

// NewMetadata returns the metadata of a cluster without topics whose only node
// has id 1.
func NewMetadata() *Metadata {
	return &Metadata{
		nextID: 1000, changed: make(chan struct{}),
		view: &metadataclient.View{
			ClusterID: "test-cluster", Revision: 1, Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{},
			Nodes: map[int32]*metadataclient.Node{1: {ID: 1, Epoch: 1, Address: "127.0.0.1:1"}}, Deleted: map[topicid.ID]string{},
		},
	}
}

// View implements metadataclient.Client.
func (m *Metadata) View() *metadataclient.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

// Changed implements metadataclient.Client.
func (m *Metadata) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// WaitRevision implements metadataclient.Client.
func (m *Metadata) WaitRevision(ctx context.Context, revision int64) error {
	for {
		changed := m.Changed()
		if m.View().Revision >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Change shows a new view: a copy of the present one that edit has changed.
// Topics and nodes must be replaced, not written to.
func (m *Metadata) Change(edit func(v *metadataclient.View)) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.view
	next.Topics, next.TopicsByID = maps.Clone(next.Topics), maps.Clone(next.TopicsByID)
	next.Nodes, next.Deleted = maps.Clone(next.Nodes), maps.Clone(next.Deleted)
	next.Revision++
	edit(&next)
	m.view = &next
	close(m.changed)
	m.changed = make(chan struct{})
	return next.Revision
}

// Lead makes node the leader of a partition, in a new epoch.
func (m *Metadata) Lead(topic string, partition, node int32) {
	m.Change(func(v *metadataclient.View) {
		t := *v.Topics[topic]
		t.Partitions = slices.Clone(t.Partitions)
		t.Partitions[partition].Leader = node
		t.Partitions[partition].LeaderEpoch++
		v.Topics[topic], v.TopicsByID[t.ID] = &t, &t
	})
}

// CreateTopic implements metadataclient.Client; node 1 leads every partition.
func (m *Metadata) CreateTopic(_ context.Context, req *metadatav1.CreateTopicRequest) (*metadatav1.CreateTopicResponse, error) {
	if m.View().Topics[req.GetName()] != nil {
		return nil, errcode.New(errcode.TopicAlreadyExists, "topic %q exists", req.GetName())
	}
	t := &metadataclient.Topic{ID: topicid.New(), Name: req.GetName(), Configs: req.GetConfigs(), Version: 1, CreateTimeMs: 1}
	for range max(req.GetPartitionCount(), 1) {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}})
	}
	revision := m.put(t, req.GetValidateOnly())
	return &metadatav1.CreateTopicResponse{Topic: state(t), Revision: revision}, nil
}

func (m *Metadata) put(t *metadataclient.Topic, validateOnly bool) int64 {
	if validateOnly {
		return m.View().Revision
	}
	return m.Change(func(v *metadataclient.View) { v.Topics[t.Name], v.TopicsByID[t.ID] = t, t })
}

func (m *Metadata) find(name string) (*metadataclient.Topic, error) {
	if t := m.View().Topics[name]; t != nil {
		c := *t
		c.Version++
		return &c, nil
	}
	return nil, errcode.New(errcode.UnknownTopic, "no topic is named %q", name)
}

// AlterTopic implements metadataclient.Client.
func (m *Metadata) AlterTopic(_ context.Context, req *metadatav1.AlterTopicRequest) (*metadatav1.AlterTopicResponse, error) {
	t, err := m.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if v := req.GetVersion(); v != 0 && v != t.Version-1 {
		return nil, errcode.New(errcode.StaleRevision, "the topic is at version %d", t.Version-1)
	}
	t.Configs = maps.Clone(t.Configs)
	if t.Configs == nil {
		t.Configs = map[string]string{}
	}
	maps.Copy(t.Configs, req.GetSet())
	for _, name := range req.GetReset_() {
		delete(t.Configs, name)
	}
	revision := m.put(t, req.GetValidateOnly())
	return &metadatav1.AlterTopicResponse{Topic: state(t), Revision: revision}, nil
}

// AddPartitions implements metadataclient.Client.
func (m *Metadata) AddPartitions(_ context.Context, req *metadatav1.AddPartitionsRequest) (*metadatav1.AddPartitionsResponse, error) {
	t, err := m.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if int(req.GetPartitionCount()) <= len(t.Partitions) {
		return nil, errcode.New(errcode.InvalidPartitions, "the topic has %d partitions", len(t.Partitions))
	}
	t.Partitions = slices.Clone(t.Partitions)
	for len(t.Partitions) < int(req.GetPartitionCount()) {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}})
	}
	revision := m.put(t, req.GetValidateOnly())
	return &metadatav1.AddPartitionsResponse{Topic: state(t), Revision: revision}, nil
}

// DeleteTopic implements metadataclient.Client.
func (m *Metadata) DeleteTopic(_ context.Context, req *metadatav1.DeleteTopicRequest) (*metadatav1.DeleteTopicResponse, error) {
	t, err := m.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if len(req.GetTopicId()) > 0 && string(req.GetTopicId()) != string(t.ID[:]) {
		return nil, errcode.New(errcode.InconsistentTopic, "the topic has another id")
	}
	revision := m.View().Revision
	if !req.GetValidateOnly() {
		revision = m.Change(func(v *metadataclient.View) {
			delete(v.Topics, t.Name)
			delete(v.TopicsByID, t.ID)
			v.Deleted[t.ID] = t.Name
		})
	}
	return &metadatav1.DeleteTopicResponse{TopicId: t.ID[:], Revision: revision}, nil
}

// AllocateProducerIds implements metadataclient.Client.
func (m *Metadata) AllocateProducerIds(context.Context, *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextID += 10
	return &metadatav1.AllocateProducerIdsResponse{FirstId: m.nextID - 10, Count: 10}, nil
}

// RegisterNode implements metadataclient.Client.
func (m *Metadata) RegisterNode(context.Context, *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	return nil, errcode.New(errcode.Unimplemented, "not of a gateway")
}

// Heartbeat implements metadataclient.Client: a gateway's first one lists it,
// and its last one fences it.
func (m *Metadata) Heartbeat(_ context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	in := req.GetGateway()
	if in == nil {
		return nil, errcode.New(errcode.Unimplemented, "not of a gateway")
	}
	if g := m.View().Gateways[in.GetBrokerId()]; g != nil && g.Fenced == req.GetDraining() {
		return &metadatav1.HeartbeatResponse{Revision: m.View().Revision}, nil
	}
	revision := m.Change(func(v *metadataclient.View) {
		v.Gateways = maps.Clone(v.Gateways)
		if v.Gateways == nil {
			v.Gateways = map[int32]*metadataclient.Gateway{}
		}
		v.Gateways[in.GetBrokerId()] = &metadataclient.Gateway{
			BrokerID: in.GetBrokerId(), KafkaAddress: in.GetKafkaAddress(), GRPCAddress: in.GetGrpcAddress(), Rack: in.GetRack(),
			LocalNodes: in.GetLocalNodes(), Fenced: req.GetDraining(),
		}
	})
	return &metadatav1.HeartbeatResponse{Revision: revision}, nil
}

// Close implements metadataclient.Client.
func (m *Metadata) Close() error { return nil }

func state(t *metadataclient.Topic) *metadatav1.TopicState {
	out := &metadatav1.TopicState{Name: t.Name, TopicId: t.ID[:], Configs: t.Configs, CreateTimeMs: t.CreateTimeMs, Version: t.Version}
	for _, p := range t.Partitions {
		out.Partitions = append(out.Partitions, &metadatav1.PartitionState{
			Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Replicas: p.Replicas, Isr: p.ISR,
		})
	}
	return out
}
