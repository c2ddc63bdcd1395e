package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/storageclient"
)

// ListOffsets implements storageclient.Storage.
func (s *Service) ListOffsets(ctx context.Context, req *storageclient.ListOffsetsRequest) (*storageclient.ListOffsetsResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	resp := &storageclient.ListOffsetsResponse{Results: make([]storageclient.ListOffsetsResult, len(req.Partitions))}
	for i := range req.Partitions {
		out, err := s.listOne(&req.Partitions[i], req.ReadCommitted)
		if err != nil {
			out = storageclient.ListOffsetsResult{Err: errcode.Of(err), Offset: -1, Timestamp: -1, LeaderEpoch: -1}
		}
		resp.Results[i] = out
	}
	return resp, nil
}

func (s *Service) listOne(in *storageclient.ListOffsetsPartition, committed bool) (storageclient.ListOffsetsResult, error) {
	none := storageclient.ListOffsetsResult{}
	p, err := s.partition(in.PartitionID)
	if err != nil {
		return none, err
	}
	r, err := p.leads(in.LeaderEpoch)
	if err != nil {
		return none, err
	}
	l, err := p.open()
	if err != nil {
		return none, err
	}
	bound := p.bound(committed)
	if in.Timestamp != storageclient.Earliest { // and the bound was read before
		if err := p.newest(r); err != nil {
			return none, err
		}
	}
	switch {
	case in.Timestamp == storageclient.Latest:
		return storageclient.ListOffsetsResult{Offset: bound, Timestamp: -1, LeaderEpoch: r.leaderEpoch}, nil
	case in.Timestamp == storageclient.Earliest:
		return storageclient.ListOffsetsResult{Offset: l.StartOffset(), Timestamp: -1, LeaderEpoch: r.leaderEpoch}, nil
	case in.Timestamp == storageclient.MaxTimestamp:
		stamp, ok, err := l.MaxTimestamp(bound)
		return p.found(l, stamp, ok, err)
	case in.Timestamp < 0:
		return none, errcode.New(errcode.InvalidArgument, "timestamp %d has no meaning", in.Timestamp).WithField("partitions.timestamp")
	}
	stamp, ok, err := l.OffsetForTimestamp(in.Timestamp, bound)
	return p.found(l, stamp, ok, err)
}

// found hands on what a look-up by time found; -1s where no record fits.
func (p *partition) found(l *commitlog.Log, st commitlog.Stamp, ok bool, err error) (storageclient.ListOffsetsResult, error) {
	if err != nil {
		return storageclient.ListOffsetsResult{}, p.readError(l, err)
	}
	if !ok {
		return storageclient.ListOffsetsResult{Offset: -1, Timestamp: -1, LeaderEpoch: -1}, nil
	}
	return storageclient.ListOffsetsResult{Offset: st.Offset, Timestamp: st.Timestamp, LeaderEpoch: st.Epoch}, nil
}
