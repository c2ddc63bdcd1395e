package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/storage-node/storageclient"
)

// ListOffsets looks offsets up by time or by name.
//
// Versions 1–11. Latest is the high watermark or, for committed reads, the
// last stable offset; a time that no record has gives -1; -3 (KIP-734) from
// version 7 on, -4 (KIP-405) from 8, -5 (KIP-1005) from 9, -6 (KIP-1023) from
// 11. Nothing is in tiers, so -4 is the start and -5 and -6 give -1.
//
// Gaps: no OFFSET_NOT_AVAILABLE, which replicas that fall behind would need.
func listOffsetsAPI() api {
	return api{
		key: 2, name: "ListOffsets", min: 1, max: 11, flexible: 6,
		shape: shape{
			always(anInt32), since(2, anInt8),
			listOf(always(aString), listOf(always(anInt32), since(4, anInt32), always(anInt64))),
			since(10, anInt32),
		},
		serve: coded(listOffsets),
	}
}

const (
	earliestLocal   = -4
	latestTiered    = -5
	earliestPending = -6
)

// sinceVersion is the first version that takes a name in place of a time.
var sinceVersion = map[int64]int16{
	storageclient.Latest: 0, storageclient.Earliest: 0, storageclient.MaxTimestamp: 7, earliestLocal: 8, latestTiered: 9, earliestPending: 11,
}

// lookup is one partition of a ListOffsets: where the answer goes, and what to
// ask storage.
type lookup struct {
	ask storageclient.ListOffsetsPartition
	out *kmsg.ListOffsetsResponseTopicPartition
}

func listOffsets(c *conn, ctx context.Context, req *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := kmsg.NewPtrListOffsetsResponse()
	resp.Topics = make([]kmsg.ListOffsetsResponseTopic, len(req.Topics))
	var todo []lookup
	seen := map[storageclient.PartitionID]*lookup{}
	for i := range req.Topics {
		in, out := &req.Topics[i], &resp.Topics[i]
		out.Topic = in.Topic
		out.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(in.Partitions))
		for j := range in.Partitions {
			l := lookup{out: &out.Partitions[j]}
			l.out.Default()
			l.out.Partition, l.out.Timestamp, l.out.Offset, l.out.LeaderEpoch = in.Partitions[j].Partition, -1, -1, -1
			if !c.s.prepareLookup(req, in.Topic, &in.Partitions[j], &l) {
				continue
			}
			if first := seen[l.ask.PartitionID]; first != nil { // neither is answered, as in Kafka
				first.out.ErrorCode, l.out.ErrorCode = kerr.InvalidRequest.Code, kerr.InvalidRequest.Code
				continue
			}
			seen[l.ask.PartitionID] = &l
			todo = append(todo, l)
		}
	}
	c.s.lookUp(ctx, todo, req.IsolationLevel == 1)
	return resp
}

// prepareLookup fills in what to ask, and says false where the answer is there
// already.
func (s *Server) prepareLookup(req *kmsg.ListOffsetsRequest, topic string, in *kmsg.ListOffsetsRequestTopicPartition, l *lookup) bool {
	t := s.meta.View().Topics[topic]
	l.ask.PartitionID, l.out.ErrorCode = partitionOf(t, in.Partition)
	if l.out.ErrorCode == 0 && req.Version >= 4 {
		l.out.ErrorCode = checkEpoch(t, in.Partition, in.CurrentLeaderEpoch)
	}
	if l.out.ErrorCode == 0 && req.ReplicaID >= 0 {
		l.out.ErrorCode = kerr.TopicAuthorizationFailed.Code // replicas have their own way
	}
	if first, named := sinceVersion[in.Timestamp]; l.out.ErrorCode == 0 && in.Timestamp < 0 && (!named || req.Version < first) {
		l.out.ErrorCode = kerr.UnsupportedVersion.Code
	}
	l.ask.Timestamp = in.Timestamp
	switch in.Timestamp {
	case earliestLocal:
		l.ask.Timestamp = storageclient.Earliest
	case latestTiered, earliestPending:
		return false
	}
	return l.out.ErrorCode == 0
}

func (s *Server) lookUp(ctx context.Context, todo []lookup, committed bool) {
	ids := make([]storageclient.PartitionID, len(todo))
	for i := range todo {
		ids[i] = todo[i].ask.PartitionID
	}
	errs := s.ask(ctx, ids, safely, func(ctx context.Context, targets []target) error {
		req := &storageclient.ListOffsetsRequest{ReadCommitted: committed}
		for i := range targets {
			part := todo[targets[i].index].ask
			part.LeaderEpoch = targets[i].Epoch
			req.Partitions = append(req.Partitions, part)
		}
		resp, err := targets[0].ListOffsets(ctx, req)
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), len(targets)); err != nil {
			return err
		}
		for i, r := range resp.Results {
			out := todo[targets[i].index].out
			targets[i].err = r.Err
			if r.Err == nil && out.ErrorCode == 0 {
				out.Offset, out.Timestamp, out.LeaderEpoch = r.Offset, r.Timestamp, r.LeaderEpoch
			}
		}
		return nil
	})
	for i, err := range errs {
		if todo[i].out.ErrorCode == 0 && err != nil {
			todo[i].out.ErrorCode = dataCodeOf(err)
		}
	}
}
