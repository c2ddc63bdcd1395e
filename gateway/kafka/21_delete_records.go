package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/topicconfig"
	"moldau.dev/storage-node/storageclient"
)

// DeleteRecords deletes what lies before an offset, durably (KIP-107).
//
// Versions 0–2. -1 is the high watermark. A topic without the policy `delete`
// says POLICY_VIOLATION, the platform's topics INVALID_TOPIC_EXCEPTION.
func deleteRecordsAPI() api {
	return api{
		key: 21, name: "DeleteRecords", max: 2, flexible: 2,
		shape: shape{listOf(always(aString), listOf(always(anInt32), always(anInt64))), always(anInt32)},
		serve: coded(deleteRecords),
	}
}

func deleteRecords(c *conn, ctx context.Context, req *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	var parts []storageclient.DeleteRecordsPartition
	var outs []*kmsg.DeleteRecordsResponseTopicPartition
	for i := range req.Topics {
		in, topic := &req.Topics[i], &resp.Topics[i]
		topic.Topic, topic.Partitions = in.Topic, make([]kmsg.DeleteRecordsResponseTopicPartition, len(in.Partitions))
		for j, p := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition, out.LowWatermark = p.Partition, -1
			id, code := partitionOf(c.s.meta.View().Topics[in.Topic], p.Partition)
			if code == 0 && topicconfig.IsInternal(in.Topic) {
				code = kerr.InvalidTopicException.Code
			}
			if out.ErrorCode = code; code == 0 {
				parts = append(parts, storageclient.DeleteRecordsPartition{PartitionID: id, BeforeOffset: p.Offset})
				outs = append(outs, out)
			}
		}
	}
	c.s.deleteRecords(ctx, parts, outs)
	return resp
}

func (s *Server) deleteRecords(ctx context.Context, parts []storageclient.DeleteRecordsPartition, outs []*kmsg.DeleteRecordsResponseTopicPartition) {
	ids := make([]storageclient.PartitionID, len(parts))
	for i := range parts {
		ids[i] = parts[i].PartitionID
	}
	errs := s.ask(ctx, ids, safely, func(ctx context.Context, targets []target) error {
		req := &storageclient.DeleteRecordsRequest{}
		for _, t := range targets {
			req.Partitions = append(req.Partitions, parts[t.index])
		}
		resp, err := targets[0].DeleteRecords(ctx, req)
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), len(targets)); err != nil {
			return err
		}
		for i, r := range resp.Results {
			if targets[i].err = r.Err; r.Err == nil {
				outs[targets[i].index].LowWatermark = r.LogStartOffset
			}
		}
		return nil
	})
	for i, err := range errs {
		outs[i].ErrorCode = 0
		if err != nil {
			outs[i].ErrorCode = dataCodeOf(err)
		}
	}
}
