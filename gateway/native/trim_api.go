package native

import (
	"context"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// TrimTopic deletes the records before given offsets, durably (KIP-107). Where
// one partition fails, others may have been trimmed; the call can be repeated.
func (s *Server) TrimTopic(ctx context.Context, req *moldauv1.TrimTopicRequest) (*moldauv1.TrimTopicResponse, error) {
	t, err := s.topic(req.GetName(), "name")
	if err != nil {
		return nil, err
	}
	if err := mayChange(req.GetName()); err != nil {
		return nil, err
	}
	parts := req.GetPartitions()
	if len(parts) == 0 {
		return nil, invalid("partitions", "no partition is named")
	}
	if err := distinct(t, len(parts), func(i int) int32 { return parts[i].GetPartition() }, "partitions"); err != nil {
		return nil, err
	}
	ids := make([]storageclient.PartitionID, len(parts))
	for i, p := range parts {
		if p.GetBeforeOffset() < -1 {
			return nil, invalid("partitions.before_offset", "%d is neither an offset nor -1", p.GetBeforeOffset())
		}
		ids[i] = storageclient.PartitionID{Topic: t.ID, Index: p.GetPartition()}
	}
	trim := s.trim
	if req.GetValidateOnly() {
		trim = s.tryTrim
	}
	starts, err := trim(ctx, ids, parts)
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.TrimTopicResponse{Origin: s.origin()}
	for i, p := range parts {
		resp.Partitions = append(resp.Partitions, &moldauv1.TrimmedPartition{Partition: p.GetPartition(), EarliestOffset: starts[i]})
	}
	return resp, nil
}

func (s *Server) trim(ctx context.Context, ids []storageclient.PartitionID, parts []*moldauv1.TrimPartition) ([]int64, error) {
	starts := make([]int64, len(ids))
	errs := s.ask(ctx, ids, func(ctx context.Context, l []leaderOf) error {
		req := &storageclient.DeleteRecordsRequest{}
		for _, p := range l {
			req.Partitions = append(req.Partitions, storageclient.DeleteRecordsPartition{PartitionID: ids[p.index], BeforeOffset: parts[p.index].GetBeforeOffset()})
		}
		resp, err := l[0].DeleteRecords(ctx, req)
		if err != nil {
			return err
		}
		if len(resp.Results) != len(l) {
			return errcode.New(errcode.Internal, "a storage node answered for %d partitions, %d were asked", len(resp.Results), len(l))
		}
		for i, r := range resp.Results {
			starts[l[i].index], l[i].err = r.LogStartOffset, r.Err
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			return nil, errcode.Of(err).With("partition", ids[i].Index)
		}
	}
	return starts, nil
}

// tryTrim tells what trim would do.
func (s *Server) tryTrim(ctx context.Context, ids []storageclient.PartitionID, parts []*moldauv1.TrimPartition) ([]int64, error) {
	places, err := s.resolve(ctx, ids, make([]*moldauv1.Position, len(ids)), false)
	if err != nil {
		return nil, err
	}
	starts := make([]int64, len(ids))
	for i, p := range places {
		before := parts[i].GetBeforeOffset()
		if before == -1 {
			before = p.latest
		}
		if before > p.latest {
			return nil, s.outOfRange(ids[i], place{before, p.earliest, p.latest})
		}
		starts[i] = max(p.earliest, before)
	}
	return starts, nil
}
