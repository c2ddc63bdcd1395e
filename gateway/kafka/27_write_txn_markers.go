package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/storage-node/storageclient"
)

// WriteTxnMarkers ends transactions in partitions, whatever their coordinator
// thinks: the way in which operators abort one that hangs (KIP-664).
//
// Versions 1–2; from 2 on a marker says which rules its transaction was under
// (KIP-1228).
func writeTxnMarkersAPI() api {
	return api{
		key: 27, name: "WriteTxnMarkers", min: 1, max: 2, flexible: 1, coordinated: true,
		shape: shape{listOf(
			always(anInt64), always(anInt16), always(aBool), listOf(always(aString), list(anInt32)), always(anInt32), since(2, anInt8),
		)},
		serve: coded(writeTxnMarkers),
	}
}

func writeTxnMarkers(c *conn, ctx context.Context, req *kmsg.WriteTxnMarkersRequest) *kmsg.WriteTxnMarkersResponse {
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	for i := range req.Markers {
		resp.Markers = append(resp.Markers, c.s.writeMarker(ctx, &req.Markers[i], req.Version))
	}
	return resp
}

func (s *Server) writeMarker(ctx context.Context, in *kmsg.WriteTxnMarkersRequestMarker, version int16) kmsg.WriteTxnMarkersResponseMarker {
	marker := storageclient.Marker{
		ProducerID: in.ProducerID, ProducerEpoch: in.ProducerEpoch, CoordinatorEpoch: int64(in.CoordinatorEpoch), TransactionVersion: 1, Commit: in.Committed,
	}
	if version >= 2 && in.TransactionVersion >= 2 {
		marker.TransactionVersion = 2
	}
	out := kmsg.WriteTxnMarkersResponseMarker{ProducerID: in.ProducerID, Topics: make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(in.Topics))}
	var ids []storageclient.PartitionID
	var parts []*kmsg.WriteTxnMarkersResponseMarkerTopicPartition
	view := s.meta.View()
	for i := range in.Topics {
		topic := &out.Topics[i]
		topic.Topic, topic.Partitions = in.Topics[i].Topic, make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(in.Topics[i].Partitions))
		for j, index := range in.Topics[i].Partitions {
			part := &topic.Partitions[j]
			part.Partition = index
			if topic.Topic == consumerOffsets {
				part.ErrorCode = s.completeOffsets(ctx, index, &marker)
				continue
			}
			id, code := partitionOf(view.Topics[topic.Topic], index)
			if part.ErrorCode = code; code == 0 {
				ids, parts = append(ids, id), append(parts, part)
			}
		}
	}
	errs := s.ask(ctx, ids, safely, func(ctx context.Context, targets []target) error {
		m := marker
		for _, t := range targets {
			m.Partitions = append(m.Partitions, ids[t.index])
		}
		resp, err := targets[0].WriteMarkers(ctx, &storageclient.WriteMarkersRequest{Markers: []storageclient.Marker{m}})
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), 1); err != nil {
			return err
		}
		if err := sameCount(len(resp.Results[0].Errs), len(targets)); err != nil {
			return err
		}
		for i := range targets {
			targets[i].err = resp.Results[0].Errs[i]
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			parts[i].ErrorCode = dataCodeOf(err)
		}
	}
	return out
}

// consumerOffsets is the topic whose partitions are the shards of groups.
const consumerOffsets = "__consumer_offsets"

// completeOffsets ends a transaction for the offsets of a shard, which its
// coordinator keeps.
func (s *Server) completeOffsets(ctx context.Context, shard int32, m *storageclient.Marker) int16 {
	_, err := s.coordinators.CompleteOffsets(ctx, &coordinatorv1.CompleteOffsetsRequest{
		Shard: shard, ProducerId: m.ProducerID, ProducerEpoch: int32(m.ProducerEpoch), CoordinatorEpoch: m.CoordinatorEpoch,
		TransactionVersion: m.TransactionVersion, Commit: m.Commit,
	})
	return groupCodeOf(err)
}
