package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/storageclient"
)

// OffsetsForEpoch implements storageclient.Storage: the largest epoch up to
// the one asked for, and where it ends, by the leader's epoch cache (KIP-101,
// KIP-279).
func (s *Service) OffsetsForEpoch(ctx context.Context, req *storageclient.OffsetsForEpochRequest) (*storageclient.OffsetsForEpochResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	resp := &storageclient.OffsetsForEpochResponse{Results: make([]storageclient.OffsetsForEpochResult, len(req.Partitions))}
	for i := range req.Partitions {
		out, err := s.endOfEpoch(&req.Partitions[i])
		if err != nil {
			resp.Results[i] = storageclient.OffsetsForEpochResult{Err: errcode.Of(err), End: noEpoch}
			continue
		}
		resp.Results[i].End = out
	}
	return resp, nil
}

// noEpoch is the end of an epoch that is not known.
var noEpoch = storageclient.EpochEnd{Epoch: -1, EndOffset: -1}

func (s *Service) endOfEpoch(in *storageclient.OffsetsForEpochPartition) (storageclient.EpochEnd, error) {
	p, err := s.partition(in.PartitionID)
	if err != nil {
		return noEpoch, err
	}
	r, err := p.leads(in.LeaderEpoch)
	if err != nil {
		return noEpoch, err
	}
	l, err := p.open()
	if err != nil {
		return noEpoch, err
	}
	return p.epochEnd(l, r, in.Epoch), nil
}

// epochEnd is the largest epoch up to the one asked for, and its end. The
// leader's own epoch ends at the log's end even before it has a record of it.
func (p *partition) epochEnd(l *commitlog.Log, r *role, epoch int32) storageclient.EpochEnd {
	if epoch == r.leaderEpoch {
		return storageclient.EpochEnd{Epoch: epoch, EndOffset: l.EndOffset()}
	}
	found, end := l.EndOffsetForEpoch(epoch)
	return storageclient.EpochEnd{Epoch: found, EndOffset: end}
}
