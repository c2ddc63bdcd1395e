package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// AlterPartitionReassignments begins, changes or cancels moves of partitions
// between storage nodes (KIP-455).
//
// Versions 0–1; from 1 on a move may be forbidden to change the number of
// replicas (KIP-860). Null replicas cancel.
func alterPartitionReassignmentsAPI() api {
	return api{
		key: 45, name: "AlterPartitionAssignments", max: 1, flexible: 0, // the codec's name
		shape: shape{
			always(anInt32), since(1, aBool), listOf(always(aString), listOf(always(anInt32), list(anInt32))),
		},
		serve: coded(alterPartitionReassignments),
	}
}

func alterPartitionReassignments(c *conn, ctx context.Context, req *kmsg.AlterPartitionAssignmentsRequest) *kmsg.AlterPartitionAssignmentsResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	var out partitionResults
	view := c.s.meta.View()
	ask := &metadatav1.AlterReassignmentsRequest{}
	for _, t := range req.Topics {
		known := view.Topics[t.Topic]
		for _, p := range t.Partitions {
			at := out.add(t.Topic, p.Partition)
			if err := checkMove(known, t.Topic, p, req.Version == 0 || req.AllowReplicationFactorChange); err != nil {
				out.fail(at, err)
				continue
			}
			out.asked = append(out.asked, at)
			ask.Reassignments = append(ask.Reassignments, &metadatav1.Reassignment{TopicId: known.ID[:], Partition: p.Partition, Replicas: p.Replicas})
		}
	}
	if len(ask.Reassignments) > 0 {
		moved, err := c.s.meta.AlterReassignments(ctx, ask)
		if err == nil {
			err = sameCount(len(moved.GetResults()), len(out.asked))
		}
		if err != nil {
			resp.ErrorCode, resp.ErrorMessage = adminCodeOf(err), textOf(err)
			return resp
		}
		for i, r := range moved.GetResults() {
			out.fail(out.asked[i], replicaError(r.GetError()))
		}
		c.s.follow(ctx, moved.GetRevision(), false)
	}
	for _, t := range out.topics {
		topic := kmsg.AlterPartitionAssignmentsResponseTopic{Topic: t.name}
		for _, p := range t.parts {
			topic.Partitions = append(topic.Partitions, kmsg.AlterPartitionAssignmentsResponseTopicPartition{Partition: p.index, ErrorCode: p.code, ErrorMessage: p.text})
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// checkMove checks what metadata cannot: what is asked for by name, the empty
// list, which cancels there, and how many replicas there are to be.
func checkMove(t *metadataclient.Topic, name string, p kmsg.AlterPartitionAssignmentsRequestTopicPartition, mayGrow bool) error {
	if _, code := partitionOf(t, p.Partition); code != 0 {
		return errcode.New(errcode.UnknownPartition, "%s has no partition %d", name, p.Partition)
	}
	if p.Replicas == nil {
		return nil
	}
	if len(p.Replicas) == 0 {
		return errcode.New(errcode.InvalidReplicaAssignment, "a partition has at least one replica")
	}
	now := &t.Partitions[p.Partition]
	if factor := len(now.Replicas) - len(now.Adding); !mayGrow && len(p.Replicas) != factor {
		return errcode.New(errcode.InvalidReplicationFactor, "%d replicas in place of %d, which is not to change", len(p.Replicas), factor)
	}
	return nil
}
