package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/storage-node/storageclient"
)

// DescribeProducers tells of the producers that partitions know, so that
// operators find transactions that hang (KIP-664).
//
// Version 0. Whichever broker is asked, the leader's knowledge is told.
func describeProducersAPI() api {
	return api{
		key: 61, name: "DescribeProducers", max: 0, flexible: 0,
		shape: shape{listOf(always(aString), list(anInt32))},
		serve: coded(describeProducers),
	}
}

func describeProducers(c *conn, ctx context.Context, req *kmsg.DescribeProducersRequest) *kmsg.DescribeProducersResponse {
	resp := kmsg.NewPtrDescribeProducersResponse()
	resp.Topics = make([]kmsg.DescribeProducersResponseTopic, len(req.Topics))
	var ids []storageclient.PartitionID
	var outs []*kmsg.DescribeProducersResponseTopicPartition
	view := c.s.meta.View()
	for i := range req.Topics {
		in, topic := &req.Topics[i], &resp.Topics[i]
		topic.Topic, topic.Partitions = in.Topic, make([]kmsg.DescribeProducersResponseTopicPartition, len(in.Partitions))
		for j, index := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition = index
			id, code := partitionOf(view.Topics[in.Topic], index)
			if out.ErrorCode = code; code == 0 {
				ids, outs = append(ids, id), append(outs, out)
			}
		}
	}
	errs := c.s.ask(ctx, ids, safely, func(ctx context.Context, targets []target) error {
		wanted := make([]storageclient.PartitionID, len(targets))
		for i := range targets {
			wanted[i] = ids[targets[i].index]
		}
		known, err := targets[0].DescribeProducers(ctx, wanted)
		if err != nil {
			return err
		}
		if err := sameCount(len(known), len(targets)); err != nil {
			return err
		}
		for i := range known {
			if targets[i].err = known[i].Err; known[i].Err == nil {
				outs[targets[i].index].ActiveProducers = activeProducers(known[i].Producers)
			}
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			outs[i].ErrorCode, outs[i].ErrorMessage = dataCodeOf(err), textOf(err)
		}
	}
	return resp
}

func activeProducers(known []storageclient.ProducerState) []kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	out := make([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, len(known))
	for i, p := range known {
		out[i] = kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
			ProducerID: p.ProducerID, ProducerEpoch: int32(p.ProducerEpoch), LastSequence: p.LastSequence,
			LastTimestamp: p.LastTimestampMs, CoordinatorEpoch: int32(p.CoordinatorEpoch), CurrentTxnStartOffset: p.TransactionStart,
		}
	}
	return out
}
