package journaltest

import (
	"context"
	"maps"
	"sync"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// Metadata is a metadataclient.Client whose View is set by a test.
type Metadata struct {
	metadataclient.Client // what a test has not written

	mu      sync.Mutex
	view    *metadataclient.View
	changed chan struct{}
}

// NewMetadata returns metadata with the given topics of one partition each,
// which node 1 leads.
func NewMetadata(topics ...string) *Metadata {
	m := &Metadata{changed: make(chan struct{}), view: &metadataclient.View{
		ClusterID: "test", Revision: 1, Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{},
		Nodes: map[int32]*metadataclient.Node{1: {ID: 1}}, Coordinators: map[int32]*metadataclient.Coordinator{},
		Settings: &metadataclient.Settings{}, Deleted: map[topicid.ID]string{},
	}}
	for _, name := range topics {
		m.Create(name, 1)
	}
	return m
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

// Change shows a new View: a copy of the present one that edit has changed.
// Its maps are copies; what they hold must be replaced, not written to.
func (m *Metadata) Change(edit func(v *metadataclient.View)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.view
	next.Topics, next.TopicsByID = maps.Clone(next.Topics), maps.Clone(next.TopicsByID)
	next.Nodes, next.Coordinators, next.Deleted = maps.Clone(next.Nodes), maps.Clone(next.Coordinators), maps.Clone(next.Deleted)
	next.Revision++
	edit(&next)
	m.view = &next
	close(m.changed)
	m.changed = make(chan struct{})
}

// Create shows a topic, or the same one with another number of partitions, and
// returns its id.
func (m *Metadata) Create(name string, partitions int) topicid.ID {
	t := &metadataclient.Topic{ID: topicid.New(), Name: name, Configs: map[string]string{}}
	if old := m.View().Topics[name]; old != nil {
		t.ID = old.ID
	}
	for range partitions {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}})
	}
	m.Change(func(v *metadataclient.View) { v.Topics[name], v.TopicsByID[t.ID] = t, t })
	return t.ID
}
