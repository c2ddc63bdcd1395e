package storageclient

import (
	"math"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
)

func epochEndToWire(e *EpochEnd) *storagev1.EpochEnd {
	if e == nil {
		return nil
	}
	return &storagev1.EpochEnd{Epoch: e.Epoch, EndOffset: e.EndOffset}
}

func epochEndFromWire(w *storagev1.EpochEnd) *EpochEnd {
	if w == nil {
		return nil
	}
	return &EpochEnd{Epoch: w.Epoch, EndOffset: w.EndOffset}
}

func epochsToWire(req *OffsetsForEpochRequest) *storagev1.OffsetsForEpochRequest {
	w := &storagev1.OffsetsForEpochRequest{}
	for i := range req.Partitions {
		p := &req.Partitions[i]
		w.Partitions = append(w.Partitions, &storagev1.OffsetsForEpochPartition{
			TopicId: p.Topic[:], Partition: p.Index, CurrentLeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch,
		})
	}
	return w
}

func epochsFromWire(w *storagev1.OffsetsForEpochRequest) (*OffsetsForEpochRequest, error) {
	req := &OffsetsForEpochRequest{}
	for _, p := range w.Partitions {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		req.Partitions = append(req.Partitions, OffsetsForEpochPartition{PartitionID: id, LeaderEpoch: p.CurrentLeaderEpoch, Epoch: p.Epoch})
	}
	return req, nil
}

func epochEndsToWire(resp *OffsetsForEpochResponse) *storagev1.OffsetsForEpochResponse {
	w := &storagev1.OffsetsForEpochResponse{}
	for i := range resp.Results {
		r := &resp.Results[i]
		w.Results = append(w.Results, &storagev1.OffsetsForEpochResult{Error: errorToWire(r.Err), End: epochEndToWire(&r.End)})
	}
	return w
}

func epochEndsFromWire(w *storagev1.OffsetsForEpochResponse) *OffsetsForEpochResponse {
	resp := &OffsetsForEpochResponse{}
	for _, r := range w.Results {
		resp.Results = append(resp.Results, OffsetsForEpochResult{
			Err: errorFromWire(r.Error), End: EpochEnd{Epoch: r.GetEnd().GetEpoch(), EndOffset: r.GetEnd().GetEndOffset()},
		})
	}
	return resp
}

func markerPartitionsToWire(partitions []PartitionID) []*storagev1.MarkerPartition {
	var w []*storagev1.MarkerPartition
	for i := range partitions {
		w = append(w, &storagev1.MarkerPartition{TopicId: partitions[i].Topic[:], Partition: partitions[i].Index})
	}
	return w
}

func markerPartitionsFromWire(w []*storagev1.MarkerPartition) ([]PartitionID, error) {
	var partitions []PartitionID
	for _, p := range w {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		partitions = append(partitions, id)
	}
	return partitions, nil
}

func markersToWire(req *WriteMarkersRequest) *storagev1.WriteMarkersRequest {
	w := &storagev1.WriteMarkersRequest{}
	for i := range req.Markers {
		m := &req.Markers[i]
		w.Markers = append(w.Markers, &storagev1.Marker{
			ProducerId: m.ProducerID, ProducerEpoch: int32(m.ProducerEpoch), CoordinatorEpoch: m.CoordinatorEpoch,
			TransactionVersion: m.TransactionVersion, Commit: m.Commit, Partitions: markerPartitionsToWire(m.Partitions),
		})
	}
	return w
}

func markersFromWire(w *storagev1.WriteMarkersRequest) (*WriteMarkersRequest, error) {
	req := &WriteMarkersRequest{}
	for _, m := range w.Markers {
		if m.ProducerEpoch < 0 || m.ProducerEpoch > math.MaxInt16 {
			return nil, errcode.New(errcode.InvalidArgument, "producer epoch %d is not in [0, 32767]", m.ProducerEpoch).
				WithField("markers.producer_epoch")
		}
		partitions, err := markerPartitionsFromWire(m.Partitions)
		if err != nil {
			return nil, err
		}
		req.Markers = append(req.Markers, Marker{
			ProducerID: m.ProducerId, ProducerEpoch: int16(m.ProducerEpoch), CoordinatorEpoch: m.CoordinatorEpoch,
			TransactionVersion: m.TransactionVersion, Commit: m.Commit, Partitions: partitions,
		})
	}
	return req, nil
}

func markedToWire(resp *WriteMarkersResponse) *storagev1.WriteMarkersResponse {
	w := &storagev1.WriteMarkersResponse{}
	for _, r := range resp.Results {
		wr := &storagev1.MarkerResult{}
		for _, err := range r.Errs {
			we := errorToWire(err)
			if we == nil {
				we = &storagev1.PartitionError{}
			}
			wr.Errors = append(wr.Errors, we)
		}
		w.Results = append(w.Results, wr)
	}
	return w
}

func markedFromWire(w *storagev1.WriteMarkersResponse) *WriteMarkersResponse {
	resp := &WriteMarkersResponse{}
	for _, r := range w.Results {
		var out MarkerResult
		for _, err := range r.Errors {
			out.Errs = append(out.Errs, errorFromWire(err))
		}
		resp.Results = append(resp.Results, out)
	}
	return resp
}

func producersToWire(known []PartitionProducers) *storagev1.DescribeProducersResponse {
	w := &storagev1.DescribeProducersResponse{}
	for i := range known {
		wr := &storagev1.PartitionProducers{Error: errorToWire(known[i].Err)}
		for _, p := range known[i].Producers {
			wr.Producers = append(wr.Producers, &storagev1.ProducerState{
				ProducerId: p.ProducerID, ProducerEpoch: int32(p.ProducerEpoch), LastSequence: p.LastSequence,
				LastTimestampMs: p.LastTimestampMs, CoordinatorEpoch: p.CoordinatorEpoch, TransactionStart: p.TransactionStart,
			})
		}
		w.Results = append(w.Results, wr)
	}
	return w
}

func producersFromWire(w *storagev1.DescribeProducersResponse) []PartitionProducers {
	var known []PartitionProducers
	for _, r := range w.Results {
		out := PartitionProducers{Err: errorFromWire(r.Error)}
		for _, p := range r.Producers {
			out.Producers = append(out.Producers, ProducerState{
				ProducerID: p.ProducerId, ProducerEpoch: int16(p.ProducerEpoch), LastSequence: p.LastSequence,
				LastTimestampMs: p.LastTimestampMs, CoordinatorEpoch: p.CoordinatorEpoch, TransactionStart: p.TransactionStart,
			})
		}
		known = append(known, out)
	}
	return known
}
