package storageclient

import (
	"maps"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// bodyField is the number of the field `batches` in AppendRequest and
// FetchResponse.
const bodyField = 15

var acksToWire = map[Acks]moldauv1.Acks{
	AcksAll:    moldauv1.Acks_ACKS_ALL,
	AcksLeader: moldauv1.Acks_ACKS_LEADER,
	AcksNone:   moldauv1.Acks_ACKS_NONE,
}

// acksFromWire takes what is unspecified or unknown for the safest.
func acksFromWire(a moldauv1.Acks) Acks {
	switch a {
	case moldauv1.Acks_ACKS_LEADER:
		return AcksLeader
	case moldauv1.Acks_ACKS_NONE:
		return AcksNone
	}
	return AcksAll
}

func errorToWire(err error) *storagev1.PartitionError {
	e := errcode.Of(err)
	if e == nil {
		return nil
	}
	return &storagev1.PartitionError{Reason: string(e.Reason), Message: e.Message, Metadata: e.Metadata}
}

func errorFromWire(w *storagev1.PartitionError) error {
	if w.GetReason() == "" {
		return nil
	}
	reason, ok := errcode.ParseReason(w.GetReason())
	if !ok {
		return errcode.New(errcode.Internal, "%s: %s", w.GetReason(), w.GetMessage())
	}
	e := errcode.New(reason, "%s", w.GetMessage())
	e.Metadata = maps.Clone(w.GetMetadata())
	return e
}

// cutter cuts a message's body into its parts.
type cutter struct{ rest []byte }

func (c *cutter) cut(size int32) ([]byte, error) {
	if size < 0 || int(size) > len(c.rest) {
		return nil, errcode.New(errcode.InvalidArgument, "a part of %d bytes in the %d left of the body", size, len(c.rest))
	}
	part := c.rest[:size:size]
	c.rest = c.rest[size:]
	return part, nil
}

func (c *cutter) end() error {
	if len(c.rest) > 0 {
		return errcode.New(errcode.InvalidArgument, "%d bytes of the body belong to no part", len(c.rest))
	}
	return nil
}

func partitionFromWire(id []byte, index int32) (PartitionID, error) {
	topic, err := topicid.FromBytes(id)
	if err != nil {
		return PartitionID{}, errcode.Wrap(err, errcode.InvalidArgument, "topic id of %d bytes, want 16", len(id)).WithField("partitions.topic_id")
	}
	return PartitionID{Topic: topic, Index: index}, nil
}

func appendToWire(req *AppendRequest) (*storagev1.AppendRequest, int) {
	w := &storagev1.AppendRequest{Acks: acksToWire[req.Acks], Partitions: make([]*storagev1.AppendPartition, len(req.Partitions))}
	size := 0
	for i := range req.Partitions {
		p := &req.Partitions[i]
		w.Partitions[i] = &storagev1.AppendPartition{
			TopicId: p.Topic[:], Partition: p.Index, LeaderEpoch: p.LeaderEpoch,
			SizeBytes: int32(len(p.Batch)), ExpectedOffset: p.ExpectedOffset, OwnerEpoch: p.OwnerEpoch, Guard: p.Guard,
			TransactionVersion: p.TransactionVersion,
		}
		size += len(p.Batch)
	}
	return w, size
}

func appendFromWire(w *storagev1.AppendRequest, body []byte) (*AppendRequest, error) {
	req := &AppendRequest{Acks: acksFromWire(w.Acks), Partitions: make([]AppendPartition, len(w.Partitions))}
	c := cutter{body}
	for i, p := range w.Partitions {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		batch, err := c.cut(p.SizeBytes)
		if err != nil {
			return nil, err
		}
		req.Partitions[i] = AppendPartition{
			PartitionID: id, LeaderEpoch: p.LeaderEpoch, Batch: batch,
			ExpectedOffset: p.ExpectedOffset, OwnerEpoch: p.OwnerEpoch, Guard: p.Guard,
			TransactionVersion: p.TransactionVersion,
		}
	}
	return req, c.end()
}

func appendedToWire(resp *AppendResponse) *storagev1.AppendResponse {
	w := &storagev1.AppendResponse{Results: make([]*storagev1.AppendResult, len(resp.Results))}
	for i := range resp.Results {
		r := &resp.Results[i]
		w.Results[i] = &storagev1.AppendResult{
			Error: errorToWire(r.Err), BaseOffset: r.BaseOffset, LogAppendTimeMs: r.LogAppendTimeMs,
			LogStartOffset: r.LogStartOffset, LeaderEpoch: r.LeaderEpoch, Duplicate: r.Duplicate, VerifyGuard: r.VerifyGuard,
		}
	}
	return w
}

func appendedFromWire(w *storagev1.AppendResponse) *AppendResponse {
	resp := &AppendResponse{Results: make([]AppendResult, len(w.Results))}
	for i, r := range w.Results {
		resp.Results[i] = AppendResult{
			Err: errorFromWire(r.Error), BaseOffset: r.BaseOffset, LogAppendTimeMs: r.LogAppendTimeMs,
			LogStartOffset: r.LogStartOffset, LeaderEpoch: r.LeaderEpoch, Duplicate: r.Duplicate, VerifyGuard: r.VerifyGuard,
		}
	}
	return resp
}

func fetchToWire(req *FetchRequest) *storagev1.FetchRequest {
	w := &storagev1.FetchRequest{
		MinBytes: clip(req.MinBytes), MaxBytes: clip(req.MaxBytes), MaxWaitMs: req.MaxWaitMs,
		ReadCommitted: req.ReadCommitted, Partitions: make([]*storagev1.FetchPartition, len(req.Partitions)),
	}
	for i := range req.Partitions {
		p := &req.Partitions[i]
		w.Partitions[i] = &storagev1.FetchPartition{
			TopicId: p.Topic[:], Partition: p.Index, LeaderEpoch: p.LeaderEpoch, Offset: p.Offset, MaxBytes: clip(p.MaxBytes),
			OwnerEpoch: p.OwnerEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
		}
	}
	return w
}

// clip keeps a number of bytes within what the wire can say.
func clip(n int) int32 { return int32(min(max(n, 0), 1<<31-1)) }

func fetchFromWire(w *storagev1.FetchRequest) (*FetchRequest, error) {
	req := &FetchRequest{
		MinBytes: int(w.MinBytes), MaxBytes: int(w.MaxBytes), MaxWaitMs: w.MaxWaitMs,
		ReadCommitted: w.ReadCommitted, Partitions: make([]FetchPartition, len(w.Partitions)),
	}
	for i, p := range w.Partitions {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		req.Partitions[i] = FetchPartition{
			PartitionID: id, LeaderEpoch: p.LeaderEpoch, Offset: p.Offset, MaxBytes: int(p.MaxBytes),
			OwnerEpoch: p.OwnerEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
		}
	}
	return req, nil
}

func fetchedToWire(resp *FetchResponse) *storagev1.FetchResponse {
	w := &storagev1.FetchResponse{Results: make([]*storagev1.FetchResult, len(resp.Results))}
	for i := range resp.Results {
		r := &resp.Results[i]
		wr := &storagev1.FetchResult{
			Error: errorToWire(r.Err), SizeBytes: int32(len(r.Batches)), HighWatermark: r.HighWatermark,
			LastStableOffset: r.LastStableOffset, LogStartOffset: r.LogStartOffset, LeaderEpoch: r.LeaderEpoch,
			Diverging: epochEndToWire(r.Diverging),
		}
		for _, a := range r.Aborted {
			wr.Aborted = append(wr.Aborted, &storagev1.AbortedTransaction{ProducerId: a.ProducerID, FirstOffset: a.FirstOffset})
		}
		w.Results[i] = wr
	}
	return w
}

func fetchedFromWire(w *storagev1.FetchResponse, body []byte) ([]FetchResult, error) {
	results, c := make([]FetchResult, len(w.Results)), cutter{body}
	for i, r := range w.Results {
		batches, err := c.cut(r.SizeBytes)
		if err != nil {
			return nil, err
		}
		results[i] = FetchResult{
			Err: errorFromWire(r.Error), Batches: batches, HighWatermark: r.HighWatermark,
			LastStableOffset: r.LastStableOffset, LogStartOffset: r.LogStartOffset, LeaderEpoch: r.LeaderEpoch,
			Diverging: epochEndFromWire(r.Diverging),
		}
		for _, a := range r.Aborted {
			results[i].Aborted = append(results[i].Aborted, AbortedTransaction{ProducerID: a.ProducerId, FirstOffset: a.FirstOffset})
		}
	}
	return results, c.end()
}
