package storagenode

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// fakeController is metadata of several nodes: it fences, elects and changes
// in-sync replicas by R9 and R10, when it is told to.
type fakeController struct {
	metadataclient.Client // what a node never calls

	mu      sync.Mutex
	view    *metadataclient.View
	changed chan struct{}
	epoch   int64
	reports []*metadatav1.SuspectReplica
	deaf    map[int32]bool // nodes whose calls fail
}

func newFakeController() *fakeController {
	return &fakeController{changed: make(chan struct{}), deaf: map[int32]bool{}, view: &metadataclient.View{
		ClusterID: "cluster", Revision: 1,
		Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{},
		Nodes: map[int32]*metadataclient.Node{}, Deleted: map[topicid.ID]string{},
	}}
}

// clientOf is the door of one node.
func (m *fakeController) clientOf(node int32) metadataclient.Client { return &nodeDoor{m, node} }

type nodeDoor struct {
	*fakeController
	node int32
}

var errDeaf = errcode.New(errcode.ControllerUnavailable, "the controller does not answer")

func (d *nodeDoor) RegisterNode(_ context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	return d.register(req)
}

func (d *nodeDoor) Heartbeat(_ context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	if d.isDeaf(d.node) {
		return nil, errDeaf
	}
	return d.beat(req)
}

func (d *nodeDoor) AlterPartitions(_ context.Context, req *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error) {
	if d.isDeaf(d.node) {
		return nil, errDeaf
	}
	return d.alter(req), nil
}

func (d *nodeDoor) ReportReplicas(_ context.Context, req *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error) {
	return d.report(req), nil
}

func (m *fakeController) isDeaf(node int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deaf[node]
}

func (m *fakeController) View() *metadataclient.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

func (m *fakeController) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *fakeController) WaitRevision(context.Context, int64) error { return nil }

// edit makes a new view, whose maps and topics may be changed.
func (m *fakeController) edit(change func(v *metadataclient.View)) {
	v := *m.view
	v.Revision++
	v.Topics, v.TopicsByID = maps.Clone(v.Topics), maps.Clone(v.TopicsByID)
	v.Nodes, v.Deleted = maps.Clone(v.Nodes), maps.Clone(v.Deleted)
	change(&v)
	m.view = &v
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *fakeController) setNode(id int32, change func(n *metadataclient.Node)) {
	m.edit(func(v *metadataclient.View) {
		n := metadataclient.Node{ID: id, Fenced: true}
		if old := v.Nodes[id]; old != nil {
			n = *old
		}
		change(&n)
		v.Nodes[id] = &n
		m.settle(v, 0)
	})
}

func (m *fakeController) register(req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.setNode(req.NodeId, func(n *metadataclient.Node) {
		n.Epoch, n.Address, n.Fenced, n.Draining = m.epoch, req.Address, true, false
	})
	return &metadatav1.RegisterNodeResponse{NodeEpoch: m.epoch, Revision: m.view.Revision, ClusterId: m.view.ClusterID}, nil
}

func (m *fakeController) beat(req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.view.Nodes[req.NodeId]
	switch {
	case req.Draining && !n.Draining:
		m.setNode(req.NodeId, func(n *metadataclient.Node) { n.Draining = true })
	case req.Draining:
		m.setNode(req.NodeId, func(n *metadataclient.Node) { n.Fenced = true })
	case req.Ready && n.Fenced && !n.Draining:
		m.setNode(req.NodeId, func(n *metadataclient.Node) { n.Fenced = false })
	}
	return &metadatav1.HeartbeatResponse{Revision: m.view.Revision, Fenced: m.view.Nodes[req.NodeId].Fenced}, nil
}

// fence takes a node for dead.
func (m *fakeController) fence(id int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setNode(id, func(n *metadataclient.Node) { n.Fenced = true })
}

// settle brings every partition in line with which nodes live (R10). lossy is a
// replica of the partition that lost something, or 0.
func (m *fakeController) settle(v *metadataclient.View, lossy int32) {
	for _, t := range v.TopicsByID {
		for i := range t.Partitions {
			p := t.Partitions[i]
			isr := slices.DeleteFunc(slices.Clone(p.ISR), func(id int32) bool { return !live(v, id) && len(p.Replicas) > 1 })
			m.change(v, t.ID, i, isr, p.Leader, lossy)
		}
	}
}

func live(v *metadataclient.View, id int32) bool {
	n := v.Nodes[id]
	return n != nil && !n.Fenced && !n.Draining
}

// change changes one partition, where there is a change.
func (m *fakeController) change(v *metadataclient.View, topic topicid.ID, index int, isr []int32, leader, lossy int32) {
	old := v.TopicsByID[topic].Partitions[index]
	p := old
	p.ISR = isr
	p.ELR = slices.DeleteFunc(append(slices.Clone(old.ELR), old.ISR...), func(id int32) bool {
		return slices.Contains(isr, id) || id == lossy
	})
	slices.Sort(p.ELR)
	p.ELR = slices.Compact(p.ELR)
	if len(isr) >= int(p.MinISR) {
		p.ELR = nil
	}
	p.Leader = leader
	if p.Leader < 0 || !slices.Contains(isr, p.Leader) || !live(v, p.Leader) {
		p.Leader = -1
	}
	if i := slices.IndexFunc(isr, func(id int32) bool { return live(v, id) }); p.Leader < 0 && i >= 0 {
		p.Leader = isr[i]
	}
	if i := slices.IndexFunc(p.ELR, func(id int32) bool { return live(v, id) }); p.Leader < 0 && len(isr) == 0 && i >= 0 {
		p.Leader = p.ELR[i]
		p.ISR, p.ELR = []int32{p.Leader}, slices.Delete(slices.Clone(p.ELR), i, i+1)
	}
	if p.Leader != old.Leader {
		p.LeaderEpoch++
	}
	if p.Leader == old.Leader && slices.Equal(p.ISR, old.ISR) && slices.Equal(p.ELR, old.ELR) {
		return
	}
	p.PartitionEpoch++
	t := *v.TopicsByID[topic]
	t.Partitions = slices.Clone(t.Partitions)
	t.Partitions[index] = p
	v.TopicsByID[topic], v.Topics[t.Name] = &t, &t
}

// alter carries proposals out (R9).
func (m *fakeController) alter(req *metadatav1.AlterPartitionsRequest) *metadatav1.AlterPartitionsResponse {
	m.mu.Lock()
	defer m.mu.Unlock()
	resp := &metadatav1.AlterPartitionsResponse{}
	for _, a := range req.Partitions {
		r := &metadatav1.AlterPartitionResult{}
		id, _ := topicid.FromBytes(a.TopicId)
		if why := m.alterOne(req.NodeId, id, a); why != "" {
			r.Error = &metadatav1.ReplicaError{Reason: string(why)}
		}
		if t := m.view.TopicsByID[id]; t != nil {
			p := &t.Partitions[a.Partition]
			r.State = &metadatav1.PartitionState{
				Replicas: p.Replicas, Isr: p.ISR, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
				MinInsyncReplicas: p.MinISR,
			}
		}
		resp.Results = append(resp.Results, r)
	}
	return resp
}

func (m *fakeController) alterOne(from int32, topic topicid.ID, a *metadatav1.AlterPartition) errcode.Reason {
	t := m.view.TopicsByID[topic]
	if t == nil {
		return errcode.UnknownTopicID
	}
	p := &t.Partitions[a.Partition]
	switch {
	case a.LeaderEpoch < p.LeaderEpoch:
		return errcode.FencedLeaderEpoch
	case p.Leader != from:
		return errcode.NotLeader
	case a.PartitionEpoch < p.PartitionEpoch:
		return errcode.InvalidUpdateVersion
	}
	var isr []int32
	for _, i := range a.Isr {
		if n := m.view.Nodes[i.NodeId]; !live(m.view, i.NodeId) || n.Epoch != i.NodeEpoch {
			return errcode.IneligibleReplica
		}
		isr = append(isr, i.NodeId)
	}
	m.edit(func(v *metadataclient.View) { m.change(v, topic, int(a.Partition), isr, from, 0) })
	return ""
}

func (m *fakeController) report(req *metadatav1.ReportReplicasRequest) *metadatav1.ReportReplicasResponse {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range req.Replicas {
		m.reports = append(m.reports, r)
		id, _ := topicid.FromBytes(r.TopicId)
		m.edit(func(v *metadataclient.View) {
			p := v.TopicsByID[id].Partitions[r.Partition]
			isr := slices.DeleteFunc(slices.Clone(p.ISR), func(o int32) bool { return o == req.NodeId })
			m.change(v, id, int(r.Partition), isr, p.Leader, req.NodeId)
			m.renew(v, id, int(r.Partition))
		})
	}
	return &metadatav1.ReportReplicasResponse{Revision: m.view.Revision}
}

// renew begins a leader epoch.
func (m *fakeController) renew(v *metadataclient.View, topic topicid.ID, index int) {
	t := *v.TopicsByID[topic]
	t.Partitions = slices.Clone(t.Partitions)
	t.Partitions[index].LeaderEpoch++
	t.Partitions[index].PartitionEpoch++
	v.TopicsByID[topic], v.Topics[t.Name] = &t, &t
}

// create makes a topic of one partition on the nodes given; the first one leads.
func (m *fakeController) create(name string, minISR int32, configs map[string]string, nodes ...int32) topicid.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &metadataclient.Topic{ID: topicid.New(), Name: name, Configs: configs, Partitions: []metadataclient.Partition{{
		Leader: nodes[0], Replicas: nodes, ISR: slices.Clone(nodes), MinISR: minISR,
	}}}
	m.edit(func(v *metadataclient.View) { v.Topics[name], v.TopicsByID[t.ID] = t, t })
	return t.ID
}

// move elects another in-sync replica.
func (m *fakeController) move(topic topicid.ID, to int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edit(func(v *metadataclient.View) { m.change(v, topic, 0, v.TopicsByID[topic].Partitions[0].ISR, to, 0) })
}

func (m *fakeController) partition(topic topicid.ID) metadataclient.Partition {
	return m.View().TopicsByID[topic].Partitions[0]
}

// awaitView returns once the view is as wanted.
func (m *fakeController) awaitView(t testing.TB, wanted func(v *metadataclient.View) bool) {
	t.Helper()
	for {
		changed := m.Changed()
		if wanted(m.View()) {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// await returns once a partition is as wanted.
func (m *fakeController) await(t testing.TB, topic topicid.ID, wanted func(p metadataclient.Partition) bool) {
	t.Helper()
	m.awaitView(t, func(v *metadataclient.View) bool { return wanted(v.TopicsByID[topic].Partitions[0]) })
}

// awaitNode returns once a node is in service.
func (m *fakeController) awaitNode(t testing.TB, id int32) {
	t.Helper()
	m.awaitView(t, func(v *metadataclient.View) bool { return live(v, id) })
}

func (m *fakeController) awaitISR(t testing.TB, topic topicid.ID, isr ...int32) {
	t.Helper()
	m.await(t, topic, func(p metadataclient.Partition) bool { return slices.Equal(slices.Sorted(slices.Values(p.ISR)), isr) })
}
