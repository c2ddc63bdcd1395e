package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/storage-node/storageclient"
)

// OffsetForLeaderEpoch tells where leader epochs end, so that consumers find
// out whether what they read was truncated (KIP-101, KIP-320).
//
// Versions 2–4. The answer is the largest epoch up to the one asked for and its
// end, or -1 and -1 where there is none.
func offsetForLeaderEpochAPI() api {
	return api{
		key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, flexible: 4,
		shape: shape{since(3, anInt32), listOf(always(aString), listOf(always(anInt32), always(anInt32), always(anInt32)))},
		serve: coded(offsetForLeaderEpoch),
	}
}

func offsetForLeaderEpoch(c *conn, ctx context.Context, req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	resp.Topics = make([]kmsg.OffsetForLeaderEpochResponseTopic, len(req.Topics))
	var parts []storageclient.OffsetsForEpochPartition
	var outs []*kmsg.OffsetForLeaderEpochResponseTopicPartition
	view := c.s.meta.View()
	for i := range req.Topics {
		in, topic := &req.Topics[i], &resp.Topics[i]
		topic.Topic, topic.Partitions = in.Topic, make([]kmsg.OffsetForLeaderEpochResponseTopicPartition, len(in.Partitions))
		for j, p := range in.Partitions {
			out := &topic.Partitions[j]
			out.Partition, out.LeaderEpoch, out.EndOffset = p.Partition, -1, -1
			t := view.Topics[in.Topic]
			id, code := partitionOf(t, p.Partition)
			if code == 0 {
				code = checkEpoch(t, p.Partition, p.CurrentLeaderEpoch)
			}
			if out.ErrorCode = code; code == 0 {
				parts, outs = append(parts, storageclient.OffsetsForEpochPartition{PartitionID: id, Epoch: p.LeaderEpoch}), append(outs, out)
			}
		}
	}
	c.s.offsetsForEpoch(ctx, parts, outs)
	return resp
}

func (s *Server) offsetsForEpoch(ctx context.Context, parts []storageclient.OffsetsForEpochPartition, outs []*kmsg.OffsetForLeaderEpochResponseTopicPartition) {
	ids := make([]storageclient.PartitionID, len(parts))
	for i := range parts {
		ids[i] = parts[i].PartitionID
	}
	errs := s.ask(ctx, ids, safely, func(ctx context.Context, targets []target) error {
		req := &storageclient.OffsetsForEpochRequest{}
		for i := range targets {
			part := parts[targets[i].index]
			part.LeaderEpoch = targets[i].Epoch
			req.Partitions = append(req.Partitions, part)
		}
		resp, err := targets[0].OffsetsForEpoch(ctx, req)
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), len(targets)); err != nil {
			return err
		}
		for i, r := range resp.Results {
			if targets[i].err = r.Err; r.Err == nil {
				outs[targets[i].index].LeaderEpoch, outs[targets[i].index].EndOffset = r.End.Epoch, r.End.EndOffset
			}
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			outs[i].ErrorCode = dataCodeOf(err)
		}
	}
}
