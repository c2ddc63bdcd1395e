package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/routing"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// TxnOffsetCommit stores offsets that count once their transaction commits.
//
// Versions 0–5. Generation and member are checked from 3 on (KIP-447); from 5
// on the group joins the transaction by itself (KIP-890).
func txnOffsetCommitAPI() api {
	return api{
		key: 28, name: "TxnOffsetCommit", max: 5, flexible: 3, coordinated: true,
		shape: shape{
			always(aString), always(aString), always(anInt64), always(anInt16), since(3, anInt32), since(3, aString), since(3, aString),
			listOf(always(aString), listOf(always(anInt32), always(anInt64), since(2, anInt32), always(aString))),
		},
		serve: coded(txnOffsetCommit),
	}
}

func txnOffsetCommit(c *conn, ctx context.Context, req *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(req.Topics))
	ask := &coordinatorv1.CommitTransactionOffsetsRequest{
		TransactionalId: req.TransactionalID, ProducerId: req.ProducerID, ProducerEpoch: int32(req.ProducerEpoch),
		GroupId: req.Group, Generation: -1, ImplicitAdd: req.Version >= 5,
	}
	if req.Version >= 3 {
		ask.Generation, ask.MemberId, ask.InstanceId = req.Generation, req.MemberID, text(req.InstanceID)
	}
	view := c.s.meta.View()
	var outs []*kmsg.TxnOffsetCommitResponseTopicPartition
	for i := range req.Topics {
		in, topic := &req.Topics[i], &resp.Topics[i]
		topic.Topic, topic.Partitions = in.Topic, make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(in.Partitions))
		t := view.Topics[in.Topic]
		for j, p := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition = p.Partition
			if t == nil || routing.CheckPartition(t, p.Partition) != nil {
				out.ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			epoch := int32(-1)
			if req.Version >= 2 {
				epoch = p.LeaderEpoch
			}
			ask.Offsets, outs = append(ask.Offsets, &coordinatorv1.Offset{
				Topic: t.Name, TopicId: t.ID[:], Partition: p.Partition, Offset: p.Offset, LeaderEpoch: epoch, Metadata: text(p.Metadata), RetentionMs: -1,
			}), append(outs, out)
		}
	}
	if len(outs) == 0 {
		return resp
	}
	done, err := c.s.coordinators.CommitTransactionOffsets(ctx, ask)
	if err == nil {
		err = sameCount(len(done.GetErrors()), len(outs))
	}
	for i, out := range outs {
		part := err
		if part == nil {
			part = partError(done.GetErrors()[i])
		}
		out.ErrorCode = txnOffsetCodeOf(part, req.Version)
	}
	return resp
}

// txnOffsetCodeOf is txnCodeOf for producers: those before Kafka 2.0 die of
// COORDINATOR_LOAD_IN_PROGRESS, and know no PRODUCER_FENCED here at all.
func txnOffsetCodeOf(err error, version int16) int16 {
	switch {
	case version < 2 && errcode.Is(err, errcode.CoordinatorLoading):
		return kerr.CoordinatorNotAvailable.Code
	case errcode.Is(err, errcode.ProducerFenced):
		return kerr.InvalidProducerEpoch.Code
	}
	return groupCodeOf(err)
}
