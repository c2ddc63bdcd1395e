// Package journaltest has what stands below a journal, in memory: one storage
// node that a test can make fail, and metadata that a test moves by hand.
package journaltest

import (
	"context"
	"slices"
	"sync"

	"moldau.dev/coordinator/journal"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// Storage is one storage node in memory, which takes itself for the leader of
// whatever it is asked for. It is a journal.Nodes of itself.
type Storage struct {
	storageclient.Storage // what a journal never calls

	mu         sync.Mutex
	partitions map[storageclient.PartitionID]*partition

	beforeAppend, afterAppend func(p *storageclient.AppendPartition) error
	beforeFetch               func(p *storageclient.FetchPartition) error
}

// BeforeAppend makes f look at each append before anything is written; an error
// fails it. nil looks at none.
func (s *Storage) BeforeAppend(f func(*storageclient.AppendPartition) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beforeAppend = f
}

// AfterAppend makes f look at each append once all is written; an error loses
// the answer.
func (s *Storage) AfterAppend(f func(*storageclient.AppendPartition) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.afterAppend = f
}

// BeforeFetch makes f look at each fetch; an error fails it.
func (s *Storage) BeforeFetch(f func(*storageclient.FetchPartition) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beforeFetch = f
}

// look calls a hook, which may set hooks itself.
func look[P any](s *Storage, hook *func(*P) error, p *P) error {
	s.mu.Lock()
	f := *hook
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(p)
}

type partition struct {
	batches [][]byte
	end     int64
	owner   int64 // highest owner epoch seen
}

// NewStorage returns an empty node.
func NewStorage() *Storage {
	return &Storage{partitions: map[storageclient.PartitionID]*partition{}}
}

// Node implements journal.Nodes.
func (s *Storage) Node(int32) (storageclient.Storage, error) { return s, nil }

func (s *Storage) partition(id storageclient.PartitionID) *partition {
	p := s.partitions[id]
	if p == nil {
		p = &partition{}
		s.partitions[id] = p
	}
	return p
}

// ForgetOwners makes the node forget the owner epochs that it has seen, as a
// new leader might.
func (s *Storage) ForgetOwners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.partitions {
		p.owner = 0
	}
}

// Append implements storageclient.Storage for one partition.
func (s *Storage) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	in := &req.Partitions[0]
	if err := look(s, &s.beforeAppend, in); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errcode.Of(err)
	}
	result := s.append(in)
	if result.Err == nil {
		if err := look(s, &s.afterAppend, in); err != nil {
			return nil, err
		}
	}
	return &storageclient.AppendResponse{Results: []storageclient.AppendResult{result}}, nil
}

func (s *Storage) append(in *storageclient.AppendPartition) storageclient.AppendResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partition(in.PartitionID)
	h, err := record.Verify(in.Batch)
	switch {
	case err != nil:
		return storageclient.AppendResult{Err: errcode.Wrap(err, errcode.CorruptRecord, "%v", err)}
	case in.OwnerEpoch < p.owner:
		return storageclient.AppendResult{Err: errcode.New(errcode.CoordinatorFenced, "owner epoch %d, %d was seen", in.OwnerEpoch, p.owner)}
	case in.ExpectedOffset != nil && *in.ExpectedOffset != p.end:
		return storageclient.AppendResult{Err: errcode.New(errcode.OffsetMismatch, "the log ends at %d", p.end)}
	}
	p.owner = in.OwnerEpoch
	batch := slices.Clone(in.Batch)
	record.SetBaseOffset(batch, p.end)
	p.batches = append(p.batches, batch)
	base := p.end
	p.end += int64(h.Count)
	return storageclient.AppendResult{BaseOffset: base, LogAppendTimeMs: -1}
}

// Fetch implements storageclient.Storage for one partition. It gives one batch
// at a time, so that whoever reads has to come again.
func (s *Storage) Fetch(ctx context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	in := &req.Partitions[0]
	if err := look(s, &s.beforeFetch, in); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errcode.Of(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partition(in.PartitionID)
	if in.OwnerEpoch < p.owner {
		err := errcode.New(errcode.CoordinatorFenced, "owner epoch %d, %d was seen", in.OwnerEpoch, p.owner)
		return storageclient.NewFetchResponse([]storageclient.FetchResult{{Err: err}}, nil), nil
	}
	p.owner = in.OwnerEpoch
	result := storageclient.FetchResult{HighWatermark: p.end, LastStableOffset: p.end}
	for _, b := range p.batches {
		if h, err := record.ParseHeader(b); err == nil && h.NextOffset() > in.Offset {
			result.Batches = slices.Clone(b)
			break
		}
	}
	return storageclient.NewFetchResponse([]storageclient.FetchResult{result}, nil), nil
}

// Records are all records of a partition, by offset.
func (s *Storage) Records(id storageclient.PartitionID) []record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []record.Record
	for _, b := range s.partition(id).batches {
		err := record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
			all = append(all, record.Record{Offset: r.Offset, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
			return nil
		})
		if err != nil {
			panic(err) // Append has verified it
		}
	}
	return all
}

// Corrupt appends a record as no owner would.
func (s *Storage) Corrupt(id storageclient.PartitionID, r journal.Record) {
	b := record.NewBuilder(record.DefaultBuilderOptions())
	b.Append(&record.Record{Key: r.Key, Value: r.Value})
	batch, err := b.Build(nil)
	if err != nil {
		panic(err) // one record always makes a batch
	}
	s.mu.Lock()
	owner := s.partition(id).owner
	s.mu.Unlock()
	if result := s.append(&storageclient.AppendPartition{PartitionID: id, Batch: batch, OwnerEpoch: owner}); result.Err != nil {
		panic(result.Err)
	}
}
