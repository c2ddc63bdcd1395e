package metadata

import (
	"testing"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

func assigned(lists ...[]int32) (out []*metadatav1.ReplicaList) {
	for _, l := range lists {
		out = append(out, &metadatav1.ReplicaList{Replicas: l})
	}
	return out
}

// TestAssignmentsAreChecked as Kafka does.
func TestAssignmentsAreChecked(t *testing.T) {
	bubble(t, func(w *town) {
		threeNodes(w)
		for _, tt := range []struct {
			name string
			req  *metadatav1.CreateTopicRequest
			want errcode.Reason
		}{
			{"and counts", &metadatav1.CreateTopicRequest{Name: "a", PartitionCount: 1, Assignment: assigned([]int32{1})}, errcode.InvalidArgument},
			{"to a stranger", &metadatav1.CreateTopicRequest{Name: "a", Assignment: assigned([]int32{1, 9})}, errcode.InvalidReplicaAssignment},
			{"to nobody", &metadatav1.CreateTopicRequest{Name: "a", Assignment: assigned(nil)}, errcode.InvalidReplicaAssignment},
			{"unlike", &metadatav1.CreateTopicRequest{Name: "a", Assignment: assigned([]int32{1, 2}, []int32{3})}, errcode.InvalidReplicaAssignment},
			{"more replicas than nodes", &metadatav1.CreateTopicRequest{Name: "a", ReplicationFactor: 4}, errcode.InvalidReplicationFactor},
			{"of the coordinators", &metadatav1.CreateTopicRequest{Name: "__consumer_offsets"}, errcode.PolicyViolation},
			{"as it should be", &metadatav1.CreateTopicRequest{Name: "a", Assignment: assigned([]int32{3, 1}, []int32{2, 3})}, ""},
		} {
			if _, err := w.door.CreateTopic(w.Context(), tt.req); errcode.ReasonOf(err) != tt.want {
				w.Errorf("%s: %v", tt.name, err)
			}
		}
		for _, tt := range []struct {
			name string
			req  *metadatav1.AddPartitionsRequest
			want errcode.Reason
		}{
			{"too few", &metadatav1.AddPartitionsRequest{Name: "a", PartitionCount: 4, Assignment: assigned([]int32{1, 2})}, errcode.InvalidReplicaAssignment},
			{"other factor", &metadatav1.AddPartitionsRequest{Name: "a", PartitionCount: 3, Assignment: assigned([]int32{1})}, errcode.InvalidReplicaAssignment},
			{"given", &metadatav1.AddPartitionsRequest{Name: "a", PartitionCount: 3, Assignment: assigned([]int32{1, 2})}, ""},
			{"left to the controller", &metadatav1.AddPartitionsRequest{Name: "a", PartitionCount: 5}, ""},
		} {
			r, err := w.door.AddPartitions(w.Context(), tt.req)
			if errcode.ReasonOf(err) != tt.want {
				w.Errorf("%s: %v", tt.name, err)
			}
			if err == nil && len(r.Topic.Partitions[tt.req.PartitionCount-1].Replicas) != 2 {
				w.Errorf("%s: %v", tt.name, r.Topic.Partitions)
			}
		}
	})
}
