package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/routing"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// OffsetDelete forgets committed offsets of topics that no member subscribes to
// (KIP-496).
//
// Version 0.
func offsetDeleteAPI() api {
	return api{
		key: 47, name: "OffsetDelete", max: 0, flexible: neverFlexible, coordinated: true,
		shape: shape{always(aString), listOf(always(aString), listOf(always(anInt32)))},
		serve: coded(offsetDelete),
	}
}

func offsetDelete(c *conn, ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	ask := &coordinatorv1.DeleteOffsetsRequest{GroupId: req.Group}
	topics := make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	var outs []*kmsg.OffsetDeleteResponseTopicPartition
	view := c.s.meta.View()
	for i := range req.Topics {
		in, topic := &req.Topics[i], &topics[i]
		topic.Topic, topic.Partitions = in.Topic, make([]kmsg.OffsetDeleteResponseTopicPartition, len(in.Partitions))
		t := view.Topics[in.Topic]
		for j, p := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition = p.Partition
			if t == nil || routing.CheckPartition(t, p.Partition) != nil {
				out.ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			ask.Keys, outs = append(ask.Keys, &coordinatorv1.OffsetKey{Topic: in.Topic, TopicId: t.ID[:], Partition: p.Partition}), append(outs, out)
		}
	}
	gone, err := c.s.coordinators.DeleteOffsets(ctx, ask)
	if err == nil {
		err = sameCount(len(gone.GetErrors()), len(outs))
	}
	if err != nil {
		resp.ErrorCode = groupCodeOf(err)
		return resp
	}
	for i, out := range outs {
		out.ErrorCode = partCodeOf(gone.GetErrors()[i])
	}
	resp.Topics = topics
	return resp
}
