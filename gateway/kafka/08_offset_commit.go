package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/routing"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// OffsetCommit stores offsets of a group.
//
// Versions 2–10. Topics go by id in version 10. Partitions that are not there
// are refused each by itself; an error of the group stands at each partition.
func offsetCommitAPI() api {
	return api{
		key: 8, name: "OffsetCommit", min: 2, max: 10, flexible: 8, coordinated: true,
		shape: shape{
			always(aString), always(anInt32), always(aString), since(7, aString), between(2, 4, anInt64),
			listOf(
				between(0, 9, aString), since(10, anID),
				listOf(always(anInt32), always(anInt64), since(6, anInt32), always(aString)),
			),
		},
		serve: coded(offsetCommit),
	}
}

func offsetCommit(c *conn, ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	ask := &coordinatorv1.CommitOffsetsRequest{
		GroupId: req.Group, Generation: req.Generation, MemberId: req.MemberID, InstanceId: text(req.InstanceID), Legacy: req.Version < 9,
	}
	retention := int64(-1)
	if req.Version <= 4 {
		retention = req.RetentionTimeMillis
	}
	var outs []*kmsg.OffsetCommitResponseTopicPartition
	for i := range req.Topics {
		in, topic := &req.Topics[i], &resp.Topics[i]
		topic.Topic, topic.TopicID, topic.Partitions = in.Topic, in.TopicID, make([]kmsg.OffsetCommitResponseTopicPartition, len(in.Partitions))
		name, id, missing := c.s.topicOf(in.Topic, in.TopicID, req.Version >= 10)
		for j, p := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition, out.ErrorCode = p.Partition, missing
			if missing == 0 && routing.CheckPartition(c.s.meta.View().TopicsByID[id], p.Partition) != nil {
				out.ErrorCode = kerr.UnknownTopicOrPartition.Code
			}
			if out.ErrorCode != 0 {
				continue
			}
			epoch := int32(-1)
			if req.Version >= 6 {
				epoch = p.LeaderEpoch
			}
			ask.Offsets, outs = append(ask.Offsets, &coordinatorv1.Offset{
				Topic: name, TopicId: id[:], Partition: p.Partition, Offset: p.Offset, LeaderEpoch: epoch, Metadata: text(p.Metadata), RetentionMs: retention,
			}), append(outs, out)
		}
	}
	if len(outs) == 0 && len(req.Topics) > 0 {
		return resp
	}
	done, err := c.s.coordinators.CommitOffsets(ctx, ask)
	if err == nil {
		err = sameCount(len(done.GetErrors()), len(outs))
	}
	for i, out := range outs {
		if err != nil {
			out.ErrorCode = groupCodeOf(err)
			continue
		}
		out.ErrorCode = partCodeOf(done.GetErrors()[i])
	}
	return resp
}
