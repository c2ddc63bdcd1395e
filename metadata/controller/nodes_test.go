package controller

import (
	"fmt"
	"testing"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/topicid"
)

// serve puts a node into service and returns its epoch.
func (r rig) serve(id int32) int64 {
	r.t.Helper()
	epoch, revision, err := r.register(id, "a", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.beat(Beat{NodeID: id, NodeEpoch: epoch, Revision: revision, Ready: true})
	return epoch
}

func (r rig) change(c cluster.Change) *Image {
	r.t.Helper()
	image, err := r.Change(r.t.Context(), func(*cluster.State) (cluster.Change, error) { return c, nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return image
}

// TestShutdownWaitsUntilAllOthersKnow (N5): a node may stop once nobody takes it
// for a leader any more.
func TestShutdownWaitsUntilAllOthersKnow(t *testing.T) {
	r := lead(t, clock.NewManual(noon), store.NewMemory())
	leaving, other := r.serve(1), r.serve(2)
	r.change(cluster.CreateTopic{Name: "t", ID: topicid.ID{1}, Assignment: [][]int32{{1, 2}}})
	before := r.Image().Revision
	goodbye := Beat{NodeID: 1, NodeEpoch: leaving, Revision: before, Draining: true}
	if r.beat(goodbye) {
		t.Fatal("may stop at once")
	}
	if p := r.Image().State.Topics["t"].Partitions[0]; p.Leader != 2 || len(p.Isr) != 1 {
		t.Fatalf("still leads: %v", p)
	}
	r.beat(Beat{NodeID: 2, NodeEpoch: other, Revision: before, Ready: true})
	if r.beat(goodbye) {
		t.Fatal("may stop though node 2 has not seen that it leads")
	}
	r.beat(Beat{NodeID: 2, NodeEpoch: other, Revision: r.Image().Revision, Ready: true})
	if !r.beat(goodbye) {
		t.Fatal("may never stop")
	}
	if r.beat(Beat{NodeID: 2, NodeEpoch: other, Revision: r.Image().Revision, Draining: true}); !r.Image().State.Nodes[2].Fenced {
		t.Fatal("the last one waits for nobody")
	}
}

// TestTwoThatShutDownDoNotWaitForEachOther.
func TestTwoThatShutDownDoNotWaitForEachOther(t *testing.T) {
	r := lead(t, clock.NewManual(noon), store.NewMemory())
	a, b := r.serve(1), r.serve(2)
	r.beat(Beat{NodeID: 1, NodeEpoch: a, Draining: true})
	if !r.beat(Beat{NodeID: 2, NodeEpoch: b, Draining: true}) || !r.beat(Beat{NodeID: 1, NodeEpoch: a, Draining: true}) {
		t.Error("neither may stop")
	}
}

// TestEverythingIsKept: what was decided is there for the next controller.
func TestEverythingIsKept(t *testing.T) {
	memory := store.NewMemory()
	r := lead(t, clock.NewManual(noon), memory)
	r.serve(1)
	if err := r.GatewayBeat(t.Context(), &metadatav1.GatewayState{BrokerId: 5, Incarnation: "g", KafkaAddress: "g:1", LocalNodes: []int32{1}}, false); err != nil {
		t.Fatal(err)
	}
	if err := r.CoordinatorBeat(t.Context(), &metadatav1.CoordinatorState{CoordinatorId: 6, Incarnation: "c", Address: "c:1"}, false); err != nil {
		t.Fatal(err)
	}
	r.change(cluster.AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"a": "b"}})
	r.change(cluster.UpdateFeatures{Levels: map[string]int32{"group.version": 0}, AllowDowngrade: true})
	r.change(cluster.EvacuateNode{NodeID: 1, Undo: true})
	before := r.Image().State
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := lead(t, clock.NewManual(noon), memory)
	after := next.Image().State
	for what, pair := range map[string][2]any{
		"gateways": {before.Gateways[5], after.Gateways[5]}, "coordinators": {before.Coordinators[6], after.Coordinators[6]},
		"shards": {before.Shards, after.Shards}, "settings": {before.Settings, after.Settings}, "nodes": {before.Nodes[1], after.Nodes[1]},
		"topics": {before.Topics["__consumer_offsets"].Partitions, after.Topics["__consumer_offsets"].Partitions},
	} {
		if fmt.Sprint(pair[0]) != fmt.Sprint(pair[1]) {
			t.Errorf("%s: %v became %v", what, pair[0], pair[1])
		}
	}
	next.pass(fence, func() {})
	next.pass(time.Hour, func() {})
	next.pass(fence, func() {})
	if s := next.Image().State; len(s.Gateways)+len(s.Coordinators) != 0 || s.Shards[0].Owner != -1 {
		t.Errorf("silent for an hour: %v, %v, %v", s.Gateways, s.Coordinators, s.Shards)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := lead(t, clock.NewManual(noon), memory).Image().State; len(s.Gateways)+len(s.Coordinators) != 0 {
		t.Error("what was forgotten is there again")
	}
}

// TestDeathOfThousandsOfLeadersIsFewTransactions (C12): only the shards that
// changed are written.
func TestDeathOfThousandsOfLeadersIsFewTransactions(t *testing.T) {
	faulty := storetest.Wrap(store.NewMemory())
	r := lead(t, clock.NewManual(noon), faulty)
	for id := range int32(4) {
		r.serve(id)
	}
	state := r.Image().State
	assignment, err := state.Place(nil, 20_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	r.change(cluster.CreateTopic{Name: "big", ID: topicid.ID{1}, Assignment: assignment})
	r.change(cluster.CreateTopic{Name: "small", ID: topicid.ID{2}, Assignment: [][]int32{{1, 2, 3}}})
	before := faulty.Commits()
	image := r.change(cluster.FenceNode{NodeID: 0})
	moved := 0
	for i, p := range image.State.Topics["big"].Partitions {
		if p.Leader != assignment[i][0] {
			moved++
		}
	}
	if n := faulty.Commits() - before; moved < 5000 || n > 12 {
		t.Errorf("%d leaders moved in %d transactions", moved, n)
	}
}
