package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
)

// ListPartitionReassignments tells which partitions move (KIP-455).
//
// Version 0. Null topics are all.
func listPartitionReassignmentsAPI() api {
	return api{
		key: 46, name: "ListPartitionReassignments", max: 0, flexible: 0,
		shape: shape{always(anInt32), listOf(always(aString), list(anInt32))},
		serve: coded(listPartitionReassignments),
	}
}

func listPartitionReassignments(c *conn, _ context.Context, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	add := func(t *metadataclient.Topic, wanted func(index int32) bool) {
		out := kmsg.ListPartitionReassignmentsResponseTopic{Topic: t.Name}
		for i := range t.Partitions {
			if p := &t.Partitions[i]; wanted(int32(i)) && len(p.Adding)+len(p.Removing) > 0 {
				out.Partitions = append(out.Partitions, kmsg.ListPartitionReassignmentsResponseTopicPartition{
					Partition: int32(i), Replicas: p.Replicas, AddingReplicas: p.Adding, RemovingReplicas: p.Removing,
				})
			}
		}
		if len(out.Partitions) > 0 {
			resp.Topics = append(resp.Topics, out)
		}
	}
	if req.Topics == nil {
		for _, t := range c.s.allTopics() {
			add(t, func(int32) bool { return true })
		}
		return resp
	}
	view := c.s.meta.View()
	for _, asked := range req.Topics {
		if t := view.Topics[asked.Topic]; t != nil {
			add(t, func(index int32) bool { return slices.Contains(asked.Partitions, index) })
		}
	}
	return resp
}
