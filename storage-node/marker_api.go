package storagenode

import (
	"context"
	"math"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// WriteMarkers implements storageclient.Storage: it ends transactions by
// control batches (T9). As with Append, all that a request brings is written
// first and then waited for together. A marker that was written before counts
// as written, once what the log holds now is below the high watermark.
func (s *Service) WriteMarkers(ctx context.Context, req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	for i := range req.Markers {
		if err := checkMarker(&req.Markers[i]); err != nil {
			return nil, err
		}
	}
	resp := &storageclient.WriteMarkersResponse{Results: make([]storageclient.MarkerResult, len(req.Markers))}
	pending := make([][]pendingAppend, len(req.Markers))
	for i := range req.Markers {
		m := &req.Markers[i]
		resp.Results[i].Errs = make([]error, len(m.Partitions))
		pending[i] = make([]pendingAppend, len(m.Partitions))
		for j, id := range m.Partitions {
			pending[i][j], resp.Results[i].Errs[j] = s.markOne(m, id)
		}
	}
	for i := range pending {
		for j := range pending[i] {
			if err := pending[i][j].wait(ctx); err != nil {
				resp.Results[i].Errs[j] = errcode.Of(err)
			}
		}
	}
	return resp, nil
}

func checkMarker(m *storageclient.Marker) error {
	switch {
	case m.ProducerID < 0:
		return errcode.New(errcode.InvalidArgument, "producer id %d", m.ProducerID).WithField("markers.producer_id")
	case m.ProducerEpoch < 0:
		return errcode.New(errcode.InvalidArgument, "producer epoch %d", m.ProducerEpoch).WithField("markers.producer_epoch")
	case m.CoordinatorEpoch < 0 || m.CoordinatorEpoch > math.MaxInt32: // what a control record holds
		return errcode.New(errcode.InvalidArgument, "coordinator epoch %d is not in [0, 2147483647]", m.CoordinatorEpoch).
			WithField("markers.coordinator_epoch")
	}
	return nil
}

func (s *Service) markOne(m *storageclient.Marker, id storageclient.PartitionID) (pendingAppend, error) {
	p, err := s.partition(id)
	if err == nil {
		var pending pendingAppend
		if pending, err = p.mark(m); err == nil {
			return pending, nil
		}
	}
	return pendingAppend{}, errcode.Of(err)
}

// mark ends a producer's transaction here. It returns what must be committed
// before that is so.
func (p *partition) mark(m *storageclient.Marker) (pending pendingAppend, err error) {
	r, err := p.leads(-1)
	if err != nil {
		return pending, err
	}
	if err := p.enoughReplicas(r); err != nil {
		return pending, err
	}
	now := p.node.clock.Now()
	c := record.Control{
		Type: record.Abort, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch,
		CoordinatorEpoch: int32(m.CoordinatorEpoch), Timestamp: now.UnixMilli(),
	}
	if m.Commit {
		c.Type = record.Commit
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, r, err := p.led(-1) // may have changed meanwhile
	if err != nil {
		return pending, err
	}
	write, err := p.producers.CheckMarker(&c, m.TransactionVersion)
	if err != nil {
		return pending, err
	}
	if !write {
		p.producers.Ended(m.ProducerID)
		return p.upTo(l.EndOffset()), nil
	}
	batch := record.ControlBatch(c)
	h, err := record.ParseHeader(batch)
	if err != nil {
		return pending, err
	}
	if err := p.write(l, r, batch, &h, now); err != nil {
		return pending, err
	}
	return p.upTo(h.NextOffset()), nil
}
