package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// DeleteRecords implements storageclient.Storage. It answers once the new
// start survives a restart (KIP-107).
func (s *Service) DeleteRecords(ctx context.Context, req *storageclient.DeleteRecordsRequest) (*storageclient.DeleteRecordsResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	resp := &storageclient.DeleteRecordsResponse{Results: make([]storageclient.DeleteRecordsResult, len(req.Partitions))}
	for i, in := range req.Partitions {
		start, err := s.deleteOne(in)
		if err != nil {
			resp.Results[i] = storageclient.DeleteRecordsResult{Err: errcode.Of(err), LogStartOffset: -1}
			continue
		}
		resp.Results[i] = storageclient.DeleteRecordsResult{LogStartOffset: start}
	}
	return resp, nil
}

func (s *Service) deleteOne(in storageclient.DeleteRecordsPartition) (int64, error) {
	p, err := s.partition(in.PartitionID)
	if err != nil {
		return -1, err
	}
	r, err := p.leads(-1)
	if err != nil {
		return -1, err
	}
	if !r.config.CleanupDelete {
		return -1, errcode.New(errcode.PolicyViolation, "%s is compacted only: cleanup.policy has no `delete`", r.topic)
	}
	l, err := p.open()
	if err != nil {
		return -1, err
	}
	hw, before := p.highWatermark.Load(), in.BeforeOffset
	if before == -1 {
		before = hw
	}
	if before < 0 || before > hw {
		return -1, p.outOfRange(l, before)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fault.Load(); f != nil {
		return -1, f
	}
	if err := l.DeleteBefore(before); err != nil {
		return -1, p.fail(err)
	}
	return l.StartOffset(), nil
}
