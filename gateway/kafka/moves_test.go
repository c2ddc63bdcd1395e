package kafka_test

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// controller is metadata that answers what a test sets, and remembers what it
// was asked last.
type controller struct {
	*gatewaytest.Metadata

	mu     sync.Mutex
	asked  proto.Message
	answer proto.Message
	err    error
}

func (m *controller) set(answer proto.Message, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.answer, m.err = nil, answer, err
}

func (m *controller) wants(t *testing.T, want proto.Message) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked == nil || !proto.Equal(m.asked, want) {
		t.Errorf("metadata was asked\n%v, want\n%v", m.asked, want)
	}
}

func decided[A proto.Message](m *controller, req proto.Message) (none A, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = req
	if m.err != nil {
		return none, m.err
	}
	return m.answer.(A), nil
}

func (m *controller) ElectLeaders(_ context.Context, req *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error) {
	return decided[*metadatav1.ElectLeadersResponse](m, req)
}

func (m *controller) AlterReassignments(_ context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	return decided[*metadatav1.AlterReassignmentsResponse](m, req)
}

func (m *controller) UpdateFeatures(_ context.Context, req *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error) {
	return decided[*metadatav1.UpdateFeaturesResponse](m, req)
}

func (m *controller) RemoveNode(_ context.Context, req *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error) {
	return decided[*metadatav1.RemoveNodeResponse](m, req)
}

func withController(t *testing.T) (*fakes, *controller, *gateway.Service) {
	f := newFakes(t)
	m := &controller{Metadata: f.meta}
	return f, m, f.gateway(4, func(_ *gateway.Config, d *gateway.Deps) { d.Metadata = m })
}

func refused(reason errcode.Reason) *metadatav1.ReplicaError {
	return &metadatav1.ReplicaError{Reason: string(reason), Message: "refused"}
}

func TestItem53ElectLeaders(t *testing.T) {
	f, m, s := withController(t)
	topic := f.topic("t", 3)
	for version := range int16(3) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.TimeoutMillis = version, 1000
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0, 9, 1, 2}}}
		m.set(&metadatav1.ElectLeadersResponse{Results: []*metadatav1.LeaderElectionResult{
			{}, {Error: refused(errcode.ElectionNotNeeded)}, {Error: refused(errcode.PreferredLeaderUnavailable)},
		}}, nil)
		got := askAt[*kmsg.ElectLeadersResponse](t, s, req).Topics[0].Partitions
		m.wants(t, &metadatav1.ElectLeadersRequest{Elections: []*metadatav1.LeaderElection{
			{TopicId: topic.ID[:], Replica: -1}, {TopicId: topic.ID[:], Partition: 1, Replica: -1}, {TopicId: topic.ID[:], Partition: 2, Replica: -1},
		}})
		for i, want := range []int16{0, unknownTopic, 84, 80} {
			if got[i].ErrorCode != want {
				t.Errorf("version %d: %+v, want code %d", version, got[i], want)
			}
		}
	}
	all := kmsg.NewPtrElectLeadersRequest()
	all.Version = 2
	m.set(&metadatav1.ElectLeadersResponse{Results: []*metadatav1.LeaderElectionResult{{TopicId: topic.ID[:], Partition: 2}}}, nil)
	if got := askAt[*kmsg.ElectLeadersResponse](t, s, all); len(got.Topics) != 1 || got.Topics[0].Topic != "t" || got.Topics[0].Partitions[0].Partition != 2 {
		t.Errorf("of all: %+v", got)
	}
	all.ElectionType = 1
	m.set(nil, errcode.New(errcode.InvalidArgument, "name the partitions"))
	if got := askAt[*kmsg.ElectLeadersResponse](t, s, all); got.ErrorCode != invalidRequest {
		t.Errorf("unclean of all: %+v", got)
	}
	m.wants(t, &metadatav1.ElectLeadersRequest{Unclean: true})
}

func TestItem53Reassignments(t *testing.T) {
	f, m, s := withController(t)
	topic := f.topic("t", 4)
	move := func(partition int32, replicas ...int32) kmsg.AlterPartitionAssignmentsRequestTopicPartition {
		return kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: partition, Replicas: replicas}
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version = 1
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{
		move(0, 2, 3), move(1), move(2, []int32{}...), move(9, 1),
	}}}
	req.Topics[0].Partitions[1].Replicas = nil
	req.Topics[0].Partitions[2].Replicas = []int32{}
	m.set(&metadatav1.AlterReassignmentsResponse{Results: []*metadatav1.AlterPartitionResult{{}, {Error: refused(errcode.NoReassignment)}}}, nil)
	got := askAt[*kmsg.AlterPartitionAssignmentsResponse](t, s, req).Topics[0].Partitions
	m.wants(t, &metadatav1.AlterReassignmentsRequest{Reassignments: []*metadatav1.Reassignment{
		{TopicId: topic.ID[:], Replicas: []int32{2, 3}}, {TopicId: topic.ID[:], Partition: 1},
	}})
	for i, want := range []int16{0, 85, invalidAssignment, unknownTopic} {
		if got[i].ErrorCode != want {
			t.Errorf("%+v, want code %d", got[i], want)
		}
	}
	req.AllowReplicationFactorChange = false
	req.Topics[0].Partitions = req.Topics[0].Partitions[:1]
	if got := askAt[*kmsg.AlterPartitionAssignmentsResponse](t, s, req).Topics[0].Partitions[0]; got.ErrorCode != invalidReplicationFactor {
		t.Errorf("more replicas than allowed: %+v", got)
	}
	f.meta.Change(func(v *metadataclient.View) {
		moving := *topic
		moving.Partitions = append([]metadataclient.Partition(nil), topic.Partitions...)
		moving.Partitions[3] = metadataclient.Partition{Leader: 1, Replicas: []int32{2, 1}, ISR: []int32{1}, Adding: []int32{2}, Removing: []int32{1}}
		v.Topics["t"], v.TopicsByID[topic.ID] = &moving, &moving
	})
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	for _, topics := range [][]kmsg.ListPartitionReassignmentsRequestTopic{nil, {{Topic: "t", Partitions: []int32{0, 3}}, {Topic: "no-such"}}} {
		list.Topics = topics
		got := askAt[*kmsg.ListPartitionReassignmentsResponse](t, s, list).Topics
		if len(got) != 1 || len(got[0].Partitions) != 1 || got[0].Partitions[0].Partition != 3 || got[0].Partitions[0].AddingReplicas[0] != 2 || got[0].Partitions[0].RemovingReplicas[0] != 1 {
			t.Errorf("listed %+v", got)
		}
	}
}

func TestTrap11FeatureLevelsAreSettable(t *testing.T) {
	_, m, s := withController(t)
	for version := range int16(3) {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.Version = version
		req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "group.version", MaxVersionLevel: 0, AllowDowngrade: version == 0, UpgradeType: 2}}
		m.set(&metadatav1.UpdateFeaturesResponse{}, nil)
		got := askAt[*kmsg.UpdateFeaturesResponse](t, s, req)
		m.wants(t, &metadatav1.UpdateFeaturesRequest{Levels: map[string]int32{"group.version": 0}, AllowDowngrade: true})
		if got.ErrorCode != 0 || version < 2 && (len(got.Results) != 1 || got.Results[0].ErrorCode != 0) {
			t.Errorf("version %d: %+v", version, got)
		}
		req.FeatureUpdates[0].AllowDowngrade, req.FeatureUpdates[0].UpgradeType = false, 1
		if got := askAt[*kmsg.UpdateFeaturesResponse](t, s, req); got.ErrorCode != 95 {
			t.Errorf("version %d, down without saying so: %+v", version, got)
		}
		m.set(nil, errcode.New(errcode.FeatureUpdateFailed, "not known"))
		req.FeatureUpdates[0].Feature = "no.such"
		if got := askAt[*kmsg.UpdateFeaturesResponse](t, s, req); got.ErrorCode != 95 {
			t.Errorf("version %d, unknown: %+v", version, got)
		}
	}
}

func TestUnregisterBrokerForgetsANode(t *testing.T) {
	_, m, s := withController(t)
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = 3
	m.set(&metadatav1.RemoveNodeResponse{}, nil)
	if got := askAt[*kmsg.UnregisterBrokerResponse](t, s, req); got.ErrorCode != 0 {
		t.Errorf("got %+v", got)
	}
	m.wants(t, &metadatav1.RemoveNodeRequest{NodeId: 3})
	m.set(nil, errcode.New(errcode.UnknownNode, "no node 3"))
	if got := askAt[*kmsg.UnregisterBrokerResponse](t, s, req); got.ErrorCode != 102 {
		t.Errorf("got %+v", got)
	}
}

func TestReplicasStayInTheOneFolderOfTheirNode(t *testing.T) {
	c := newCluster(t, storageNodes(2))
	c.topic("t", 1, nil)
	at := c.door.View().Topics["t"].Partitions[0].Replicas[0]
	dirs := map[int32]string{1: "storage-node-1", 2: "storage-node-2"}
	for dir, want := range map[string]int16{dirs[at]: 0, dirs[3-at]: 9, "/elsewhere": 57} {
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		req.Version = 2
		req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "t", Partitions: []int32{0}}}}}
		if got := ask[*kmsg.AlterReplicaLogDirsResponse](c, req).Topics[0].Partitions[0]; got.ErrorCode != want {
			t.Errorf("to %s: code %d, want %d", dir, got.ErrorCode, want)
		}
	}
}
