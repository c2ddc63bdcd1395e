package gatewaytest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// Storage is one storage node in memory, which takes itself for the leader of
// whatever it is asked for. As the contract allows it, it writes into the
// batches that it is lent; and it gives them up when an answer is released, so
// that a caller who keeps them reads noise.
type Storage struct {
	clk clock.Clock

	mu         sync.Mutex
	partitions map[storageclient.PartitionID]*partition
	moved      chan struct{}
	appends    int

	// BeforeAppend and AfterAppend, where set, may fail a call or its parts:
	// an error fails the call as a whole.
	BeforeAppend, AfterAppend func(req *storageclient.AppendRequest) error
	// Judge, where set, may refuse a batch.
	Judge func(batch []byte) error
	// BeforeFetch, where set, is called with each Fetch.
	BeforeFetch func()
	lead        func(id storageclient.PartitionID, epoch int32) error
}

type partition struct {
	batches   [][]byte
	start     int64
	end       int64
	producers map[int64][]appended // their last, oldest first
}

// appended is a batch of a producer.
type appended struct {
	first, last int32 // sequence
	base        int64
}

// remembered is how many batches of a producer are known again.
const remembered = 5

// NewStorage returns an empty node.
func NewStorage(clk clock.Clock) *Storage {
	return &Storage{clk: clk, partitions: map[storageclient.PartitionID]*partition{}, moved: make(chan struct{})}
}

// Nodes is a routing.Nodes.
type Nodes struct {
	mu   sync.Mutex
	byID map[int32]storageclient.Storage
}

// NewNodes returns the doors of one node, of id 1.
func NewNodes(first storageclient.Storage) *Nodes {
	return &Nodes{byID: map[int32]storageclient.Storage{1: first}}
}

// Set makes s the door of a node; nil takes the node away.
func (n *Nodes) Set(id int32, s storageclient.Storage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byID[id] = s
}

// Node implements routing.Nodes.
func (n *Nodes) Node(id int32) (storageclient.Storage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.byID[id]; s != nil {
		return s, nil
	}
	return nil, errcode.New(errcode.NodeUnavailable, "node %d is away", id)
}

// Appends is how many batches were appended.
func (s *Storage) Appends() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appends
}

// Refuse makes the node ask lead whether it may serve a partition; nil: always.
func (s *Storage) Refuse(lead func(id storageclient.PartitionID, epoch int32) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lead = lead
}

func (s *Storage) partition(id storageclient.PartitionID) *partition {
	p := s.partitions[id]
	if p == nil {
		p = &partition{producers: map[int64][]appended{}}
		s.partitions[id] = p
	}
	return p
}

func (s *Storage) leads(id storageclient.PartitionID, epoch int32) error {
	if s.lead == nil {
		return nil
	}
	return s.lead(id, epoch)
}

// Append implements storageclient.Storage.
func (s *Storage) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	if s.BeforeAppend != nil {
		if err := s.BeforeAppend(req); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, errcode.Of(err)
	}
	resp := &storageclient.AppendResponse{}
	s.mu.Lock()
	for i := range req.Partitions {
		resp.Results = append(resp.Results, s.appendOne(&req.Partitions[i]))
	}
	close(s.moved)
	s.moved = make(chan struct{})
	s.mu.Unlock()
	if s.AfterAppend != nil {
		if err := s.AfterAppend(req); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func (s *Storage) appendOne(in *storageclient.AppendPartition) storageclient.AppendResult {
	failed := func(err error) storageclient.AppendResult {
		return storageclient.AppendResult{Err: err, BaseOffset: -1, LogAppendTimeMs: -1, LeaderEpoch: -1}
	}
	if err := s.leads(in.PartitionID, in.LeaderEpoch); err != nil {
		return failed(err)
	}
	h, err := record.ValidateProduced(in.Batch, record.ProduceRules{MaxBatchBytes: 1 << 20})
	if err != nil {
		return failed(errcode.Wrap(err, errcode.InvalidRecord, "%v", err))
	}
	if s.Judge != nil {
		if err := s.Judge(in.Batch); err != nil {
			return failed(err)
		}
	}
	p := s.partition(in.PartitionID)
	if known := p.producers[h.ProducerID]; h.Idempotent() && len(known) > 0 {
		for _, b := range known {
			if b.first == h.BaseSequence && b.last == h.LastSequence() {
				return storageclient.AppendResult{BaseOffset: b.base, LogAppendTimeMs: -1, Duplicate: true}
			}
		}
		if next := (known[len(known)-1].last + 1) & 0x7fffffff; h.BaseSequence != next {
			return failed(errcode.New(errcode.OutOfOrderSequence, "sequence %d, %d is next", h.BaseSequence, next).With("expected_sequence", next))
		}
	}
	if in.ExpectedOffset != nil && *in.ExpectedOffset != p.end {
		return failed(errcode.New(errcode.OffsetMismatch, "the log ends at %d", p.end).With("end_offset", p.end))
	}
	record.SetBaseOffset(in.Batch, p.end)
	record.SetLeaderEpoch(in.Batch, max(in.LeaderEpoch, 0))
	base := p.end
	p.batches = append(p.batches, slices.Clone(in.Batch))
	p.end += int64(h.Count)
	if h.Idempotent() {
		known := append(p.producers[h.ProducerID], appended{h.BaseSequence, h.LastSequence(), base})
		p.producers[h.ProducerID] = known[max(len(known)-remembered, 0):]
	}
	s.appends++
	return storageclient.AppendResult{BaseOffset: base, LogAppendTimeMs: -1, LogStartOffset: p.start, LeaderEpoch: max(in.LeaderEpoch, 0)}
}

// Fetch implements storageclient.Storage.
func (s *Storage) Fetch(ctx context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	if f := s.BeforeFetch; f != nil {
		f()
	}
	timer := s.clk.NewTimer(time.Duration(req.MaxWaitMs) * time.Millisecond)
	defer timer.Stop()
	for {
		s.mu.Lock()
		results, enough := s.fetchAll(req)
		moved := s.moved
		s.mu.Unlock()
		if enough || req.MaxWaitMs <= 0 {
			return storageclient.NewFetchResponse(results, func() { spoil(results) }), nil
		}
		select {
		case <-moved:
		case <-timer.C():
			return storageclient.NewFetchResponse(results, nil), nil
		case <-ctx.Done():
			return nil, errcode.Of(ctx.Err())
		}
	}
}

func spoil(results []storageclient.FetchResult) {
	for _, r := range results {
		for i := range r.Batches {
			r.Batches[i] = 0xdb
		}
	}
}

func (s *Storage) fetchAll(req *storageclient.FetchRequest) (results []storageclient.FetchResult, enough bool) {
	total := 0
	for _, in := range req.Partitions {
		p := s.partition(in.PartitionID)
		r := storageclient.FetchResult{HighWatermark: p.end, LastStableOffset: p.end, LogStartOffset: p.start, LeaderEpoch: max(in.LeaderEpoch, 0)}
		switch r.Err = s.leads(in.PartitionID, in.LeaderEpoch); {
		case r.Err != nil:
			enough = true
		case in.Offset < p.start || in.Offset > p.end:
			r.Err, enough = errcode.New(errcode.OffsetOutOfRange, "offset %d is not in [%d, %d]", in.Offset, p.start, p.end).
				With("earliest_offset", p.start).With("latest_offset", p.end), true
		default:
			r.Batches = p.read(in.Offset, in.MaxBytes)
		}
		total += len(r.Batches)
		results = append(results, r)
	}
	return results, enough || total >= req.MinBytes
}

func (p *partition) read(offset int64, maxBytes int) (out []byte) {
	for _, b := range p.batches {
		h, err := record.ParseHeader(b)
		if err != nil {
			panic("gatewaytest: only checked batches are stored: " + err.Error())
		}
		if h.NextOffset() <= offset {
			continue
		}
		if len(out) > 0 && len(out)+len(b) > maxBytes {
			break
		}
		out = append(out, b...)
	}
	return out
}

// ListOffsets implements storageclient.Storage.
func (s *Storage) ListOffsets(_ context.Context, req *storageclient.ListOffsetsRequest) (*storageclient.ListOffsetsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &storageclient.ListOffsetsResponse{}
	for _, in := range req.Partitions {
		p := s.partition(in.PartitionID)
		r := storageclient.ListOffsetsResult{Offset: -1, Timestamp: -1, LeaderEpoch: -1, Err: s.leads(in.PartitionID, in.LeaderEpoch)}
		switch in.Timestamp {
		case storageclient.Earliest:
			r.Offset = p.start
		case storageclient.Latest:
			r.Offset = p.end
		default:
			p.search(in.Timestamp, &r)
		}
		resp.Results = append(resp.Results, r)
	}
	return resp, nil
}

func (p *partition) search(timestamp int64, out *storageclient.ListOffsetsResult) {
	for _, b := range p.batches {
		err := record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
			largest := timestamp == storageclient.MaxTimestamp && r.Timestamp > out.Timestamp
			first := timestamp >= 0 && out.Offset < 0 && r.Timestamp >= timestamp
			if r.Offset >= p.start && (largest || first) {
				out.Offset, out.Timestamp = r.Offset, r.Timestamp
			}
			return nil
		})
		if err != nil {
			out.Err = err
		}
	}
}

// DeleteRecords implements storageclient.Storage.
func (s *Storage) DeleteRecords(_ context.Context, req *storageclient.DeleteRecordsRequest) (*storageclient.DeleteRecordsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &storageclient.DeleteRecordsResponse{}
	for _, in := range req.Partitions {
		p := s.partition(in.PartitionID)
		before := in.BeforeOffset
		if before < 0 {
			before = p.end
		}
		r := storageclient.DeleteRecordsResult{}
		if before > p.end {
			r.Err = errcode.New(errcode.OffsetOutOfRange, "offset %d is not in [%d, %d]", before, p.start, p.end)
		} else {
			p.start = max(p.start, before)
		}
		r.LogStartOffset = p.start
		resp.Results = append(resp.Results, r)
	}
	return resp, nil
}

// Trim moves a partition's start, as retention does.
func (s *Storage) Trim(id storageclient.PartitionID, before int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(id).start = before
}

// DescribeReplicas implements storageclient.Storage.
func (s *Storage) DescribeReplicas(context.Context, []topicid.ID) ([]storageclient.ReplicaState, error) {
	return nil, errcode.New(errcode.Unimplemented, "not asked by a gateway")
}

// OffsetsForEpoch implements storageclient.Storage: every epoch ends at the
// log's end.
func (s *Storage) OffsetsForEpoch(_ context.Context, req *storageclient.OffsetsForEpochRequest) (*storageclient.OffsetsForEpochResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &storageclient.OffsetsForEpochResponse{}
	for _, in := range req.Partitions {
		r := storageclient.OffsetsForEpochResult{End: storageclient.EpochEnd{Epoch: -1, EndOffset: -1}}
		if r.Err = s.leads(in.PartitionID, in.LeaderEpoch); r.Err == nil {
			r.End = storageclient.EpochEnd{Epoch: in.Epoch, EndOffset: s.partition(in.PartitionID).end}
		}
		resp.Results = append(resp.Results, r)
	}
	return resp, nil
}

// WriteMarkers implements storageclient.Storage.
func (s *Storage) WriteMarkers(context.Context, *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	return nil, errcode.New(errcode.Unimplemented, "not asked by a gateway")
}

// DescribeProducers implements storageclient.Storage.
func (s *Storage) DescribeProducers(_ context.Context, partitions []storageclient.PartitionID) ([]storageclient.PartitionProducers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make([]storageclient.PartitionProducers, len(partitions))
	for i, id := range partitions {
		producers := s.partition(id).producers
		for _, pid := range slices.Sorted(maps.Keys(producers)) {
			last := producers[pid][len(producers[pid])-1].last
			known[i].Producers = append(known[i].Producers, storageclient.ProducerState{
				ProducerID: pid, LastSequence: last, CoordinatorEpoch: -1, TransactionStart: -1,
			})
		}
	}
	return known, nil
}

// Values returns the values of a partition's records, in order.
func (s *Storage) Values(id storageclient.PartitionID) (values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.partition(id).batches {
		err := record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
			values = append(values, string(r.Value))
			return nil
		})
		if err != nil {
			panic("gatewaytest: only checked batches are stored: " + err.Error())
		}
	}
	return values
}
