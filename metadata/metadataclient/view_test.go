package metadataclient

import (
	"testing"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

func TestSnapshotFillsEverything(t *testing.T) {
	v, err := emptyView().next(&metadatav1.WatchResponse{Revision: 4, Snapshot: &metadatav1.ClusterState{
		ClusterId:    "c",
		Nodes:        []*metadatav1.NodeState{{NodeId: 1, NodeEpoch: 9, Evacuating: true}},
		Gateways:     []*metadatav1.GatewayState{{BrokerId: 2, KafkaAddress: "g:1", Fenced: true}},
		Coordinators: []*metadatav1.CoordinatorState{{CoordinatorId: 3, Incarnation: "x", Address: "c:1"}},
		Shards:       []*metadatav1.ShardState{{Owner: 3, Epoch: 5}, {Owner: -1, Epoch: 6}},
		Configs:      map[string]string{"a": "b"}, BrokerConfigs: []*metadatav1.BrokerConfigs{{BrokerId: 2, Configs: map[string]string{"c": "d"}}},
		Features: map[string]int32{"f": 7},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n := v.Nodes[1]; n.Epoch != 9 || !n.Evacuating {
		t.Errorf("node %+v", n)
	}
	if g := v.Gateways[2]; g.KafkaAddress != "g:1" || !g.Fenced {
		t.Errorf("gateway %+v", g)
	}
	if c := v.Coordinators[3]; c.Incarnation != "x" || c.Address != "c:1" {
		t.Errorf("coordinator %+v", c)
	}
	if len(v.Shards) != 2 || v.Shards[0] != (Shard{3, 5}) || v.Shards[1] != (Shard{-1, 6}) {
		t.Errorf("shards %+v", v.Shards)
	}
	if s := v.Settings; s.Configs["a"] != "b" || s.Brokers[2]["c"] != "d" || s.Features["f"] != 7 {
		t.Errorf("settings %+v", s)
	}
}

func TestFrameChangesOnlyWhatItCarries(t *testing.T) {
	v, _ := emptyView().next(&metadatav1.WatchResponse{Revision: 1, Snapshot: &metadatav1.ClusterState{
		ClusterId: "c", Shards: []*metadatav1.ShardState{{Owner: 1}}, Configs: map[string]string{"a": "b"},
		Gateways:     []*metadatav1.GatewayState{{BrokerId: 1}, {BrokerId: 2}},
		Coordinators: []*metadatav1.CoordinatorState{{CoordinatorId: 1}},
	}})
	next, err := v.next(&metadatav1.WatchResponse{Revision: 2, RemovedGateways: []int32{1}, RemovedCoordinators: []int32{1}})
	if err != nil || next.Gateways[1] != nil || next.Gateways[2] != v.Gateways[2] || len(next.Coordinators) != 0 {
		t.Errorf("%+v, %v", next, err)
	}
	if len(v.Gateways) != 2 || len(next.Shards) != 1 || next.Settings != v.Settings {
		t.Errorf("before %+v, after %+v", v, next)
	}
	next, _ = next.next(&metadatav1.WatchResponse{Revision: 3, Settings: &metadatav1.ClusterSettings{}})
	if len(next.Settings.Configs) != 0 {
		t.Error("settings are whole, so an empty frame of them drops all")
	}
}

func TestChangedPartitionLeavesTheOthers(t *testing.T) {
	v, _ := emptyView().next(snapshot(1, topic("a", 1, 3), topic("b", 2, 3)))
	change := func(id byte, partition int32) *metadatav1.PartitionChange {
		return &metadatav1.PartitionChange{
			TopicId: append([]byte{id}, make([]byte, 15)...), Partition: partition,
			State: &metadatav1.PartitionState{Leader: 7, LeaderEpoch: 2, Replicas: []int32{7}, Elr: []int32{8}, MinInsyncReplicas: 2},
		}
	}
	next, err := v.next(&metadatav1.WatchResponse{Revision: 2, Partitions: []*metadatav1.PartitionChange{change(1, 0), change(1, 2)}})
	if err != nil {
		t.Fatal(err)
	}
	a := next.Topics["a"]
	if a.Partitions[0].Leader != 7 || a.Partitions[1].Leader != 1 || a.Partitions[2].ELR[0] != 8 || a.Partitions[2].MinISR != 2 {
		t.Errorf("%+v", a.Partitions)
	}
	if next.Topics["b"] != v.Topics["b"] || v.Topics["a"].Partitions[0].Leader != 1 || next.TopicsByID[topicid.ID{1}] != a {
		t.Error("the view before changed, or more than the frame carried")
	}
	for name, c := range map[string]*metadatav1.PartitionChange{"topic": change(9, 0), "partition": change(1, 3), "sign": change(1, -1), "id": {}} {
		if _, err := v.next(&metadatav1.WatchResponse{Revision: 2, Partitions: []*metadatav1.PartitionChange{c}}); err == nil {
			t.Errorf("a change with an unknown %s passed", name)
		}
	}
}
