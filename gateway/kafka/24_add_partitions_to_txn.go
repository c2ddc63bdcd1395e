package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/routing"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// AddPartitionsToTxn adds partitions to transactions, as producers before
// transaction.version 2 do.
//
// Versions 0–5. One transaction up to version 3, many from 4 on, which Kafka's
// brokers use among themselves. All partitions of a transaction are added or
// none: where one is not there, the others are OPERATION_NOT_ATTEMPTED.
func addPartitionsToTxnAPI() api {
	return api{
		key: 24, name: "AddPartitionsToTxn", max: 5, flexible: 3, coordinated: true,
		shape: shape{
			listOf(
				always(aString), always(anInt64), always(anInt16), always(aBool), listOf(always(aString), list(anInt32)),
			).from(4),
			between(0, 3, aString), between(0, 3, anInt64), between(0, 3, anInt16), listOf(always(aString), list(anInt32)).upTo(3),
		},
		serve: coded(addPartitionsToTxn),
	}
}

func addPartitionsToTxn(c *conn, ctx context.Context, req *kmsg.AddPartitionsToTxnRequest) *kmsg.AddPartitionsToTxnResponse {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	if req.Version >= 4 {
		for i := range req.Transactions {
			resp.Transactions = append(resp.Transactions, c.s.addToTxn(ctx, &req.Transactions[i], req.Version))
		}
		return resp
	}
	one := kmsg.AddPartitionsToTxnRequestTransaction{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch}
	for _, t := range req.Topics {
		one.Topics = append(one.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	for _, t := range c.s.addToTxn(ctx, &one, req.Version).Topics {
		out := kmsg.AddPartitionsToTxnResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (s *Server) addToTxn(ctx context.Context, in *kmsg.AddPartitionsToTxnRequestTransaction, version int16) kmsg.AddPartitionsToTxnResponseTransaction {
	out := kmsg.AddPartitionsToTxnResponseTransaction{TransactionalID: in.TransactionalID}
	out.Topics = make([]kmsg.AddPartitionsToTxnResponseTransactionTopic, len(in.Topics))
	ask := &coordinatorv1.AddPartitionsRequest{
		TransactionalId: in.TransactionalID, ProducerId: in.ProducerID, ProducerEpoch: int32(in.ProducerEpoch), VerifyOnly: in.VerifyOnly,
	}
	view := s.meta.View()
	var parts []*kmsg.AddPartitionsToTxnResponseTransactionTopicPartition // asked for
	missing := false
	for i := range in.Topics {
		topic := &out.Topics[i]
		topic.Topic, topic.Partitions = in.Topics[i].Topic, make([]kmsg.AddPartitionsToTxnResponseTransactionTopicPartition, len(in.Topics[i].Partitions))
		t := view.Topics[topic.Topic]
		for j, index := range in.Topics[i].Partitions {
			part := &topic.Partitions[j]
			part.Partition = index
			if t == nil || routing.CheckPartition(t, index) != nil {
				part.ErrorCode, missing = kerr.UnknownTopicOrPartition.Code, true
				continue
			}
			parts = append(parts, part)
			ask.Partitions = append(ask.Partitions, &coordinatorv1.TransactionPartition{Topic: t.Name, TopicId: t.ID[:], Partition: index})
		}
	}
	if missing {
		for _, part := range parts {
			part.ErrorCode = kerr.OperationNotAttempted.Code
		}
		return out
	}
	added, err := s.coordinators.AddPartitions(ctx, ask)
	if err == nil {
		err = sameCount(len(added.GetErrors()), len(parts))
	}
	for i, part := range parts {
		if err != nil {
			part.ErrorCode = txnCodeOf(err, version, 2)
			continue
		}
		part.ErrorCode = txnCodeOf(partError(added.GetErrors()[i]), version, 2)
	}
	return out
}
