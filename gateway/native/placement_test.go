package native_test

import (
	"context"
	"testing"

	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/native"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// mover is metadata that moves whatever it is asked to, and counts.
type mover struct {
	*gatewaytest.Metadata
	asked *metadatav1.AlterReassignmentsRequest
}

func (m *mover) AlterReassignments(_ context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	m.asked = req
	resp := &metadatav1.AlterReassignmentsResponse{}
	for _, r := range req.GetReassignments() {
		result := &metadatav1.AlterPartitionResult{State: &metadatav1.PartitionState{Leader: 1, Replicas: r.GetReplicas()}}
		if len(r.GetReplicas()) > 0 && r.GetReplicas()[0] == 9 {
			result = &metadatav1.AlterPartitionResult{Error: &metadatav1.ReplicaError{Reason: string(errcode.InvalidReplicaAssignment), Message: "no node 9"}}
		}
		resp.Results = append(resp.Results, result)
	}
	return resp, nil
}

// TestEachPlacementHasItsOwnAnswer: what is wrong with one partition is said at
// that one, in the order of the request, and the others are moved.
func TestEachPlacementHasItsOwnAnswer(t *testing.T) {
	m := &mover{Metadata: gatewaytest.NewMetadata()}
	s, err := native.NewServer(native.Config{MaxInFlightBytes: 1 << 20}, native.Deps{
		Clock: clock.Real(), Metadata: m, Nodes: gatewaytest.NewNodes(gatewaytest.NewStorage(clock.Real())),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if _, err := s.CreateTopic(t.Context(), &moldauv1.CreateTopicRequest{Name: "river", PartitionCount: 3}); err != nil {
		t.Fatal(err)
	}
	place := func(topic string, partition int32, nodes ...int32) *moldauv1.PartitionPlacement {
		return &moldauv1.PartitionPlacement{Topic: topic, Partition: partition, ReplicaIds: nodes}
	}
	resp, err := s.Reassign(t.Context(), &moldauv1.ReassignRequest{Placements: []*moldauv1.PartitionPlacement{
		place("nobody", 0, 1), place("river", 7, 1), place("river", -1, 1), place("river", 0), place("river", 1, 9), place("river", 2, 2, 1),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []errcode.Reason{
		errcode.UnknownTopic, errcode.UnknownPartition, errcode.UnknownPartition, errcode.InvalidReplicaAssignment, errcode.InvalidReplicaAssignment, "",
	}
	for i, r := range resp.GetResults() {
		if got := errcode.Reason(r.GetError().GetReason()); got != want[i] {
			t.Errorf("placement %d: %q, want %q", i, got, want[i])
		}
	}
	if n := len(m.asked.GetReassignments()); len(resp.GetResults()) != len(want) || n != 2 {
		t.Errorf("%d results, %d asked of metadata", len(resp.GetResults()), n)
	}
	m.asked = nil
	cancelled, err := s.CancelReassignments(t.Context(), &moldauv1.CancelReassignmentsRequest{Partitions: []*moldauv1.PartitionName{{Topic: "river"}}})
	if err != nil || errcode.Reason(cancelled.GetResults()[0].GetError().GetReason()) != errcode.NoReassignment || m.asked != nil {
		t.Errorf("a partition that stays was cancelled: %v, %v", cancelled, err)
	}
	for name, call := range map[string]func() error{
		"placements": func() error { _, err := s.Reassign(t.Context(), &moldauv1.ReassignRequest{}); return err },
		"elections": func() error {
			_, err := s.ElectLeaders(t.Context(), &moldauv1.ElectLeadersRequest{Unclean: true})
			return err
		},
		"node_id": func() error { _, err := s.GetNode(t.Context(), &moldauv1.GetNodeRequest{NodeId: 70}); return err },
	} {
		if e := errcode.Of(call()); e.Metadata["field"] != name && e.Field != name {
			t.Errorf("%s: %v", name, e)
		}
	}
}
