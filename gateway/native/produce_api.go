package native

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/timestamppb"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// Produce appends records to one topic.
func (s *Server) Produce(ctx context.Context, req *moldauv1.ProduceRequest) (*moldauv1.ProduceResponse, error) {
	p, err := s.begin(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	return p.wait(), nil
}

// InitProducer hands out a producer id.
func (s *Server) InitProducer(ctx context.Context, _ *moldauv1.InitProducerRequest) (*moldauv1.InitProducerResponse, error) {
	id, err := s.lanes.ids.next(ctx)
	if err != nil {
		return nil, err
	}
	return &moldauv1.InitProducerResponse{ProducerId: id, Origin: s.origin()}, nil
}

// producing is a request whose records stand in their partitions' lanes.
type producing struct {
	s      *Server
	ctx    context.Context
	cancel context.CancelFunc
	acks   storageclient.Acks
	shares []*share
	queued []*entry // one for each share
}

// begin checks a request and queues its records, in the order of the calls.
// It returns before they are appended; wait does not. free, if not nil, is called
// once nobody reads the request's batch any more; where begin fails it is not.
func (s *Server) begin(ctx context.Context, req *moldauv1.ProduceRequest, free func()) (*producing, error) {
	if err := s.checkProduce(req); err != nil {
		return nil, err
	}
	t, err := s.topicToWrite(ctx, req.GetTopic())
	if err != nil {
		return nil, err
	}
	if req.Partition != nil {
		if err := routing.CheckPartition(t, req.GetPartition()); err != nil {
			return nil, errcode.Of(err).WithField("partition")
		}
	}
	c := s.topicConfig(t)
	p := &producing{s: s, acks: acksOf[req.GetAcks()]}
	if err := p.prepare(ctx, t, req, c); err != nil {
		return nil, err
	}
	if err := s.admit(ctx, p.size()); err != nil {
		return nil, err
	}
	if p.acks == storageclient.AcksNone {
		ctx = context.WithoutCancel(ctx) // answered before it is done
	}
	p.ctx, p.cancel = context.WithTimeout(ctx, s.cfg.ProduceTimeout)
	if p.acks == storageclient.AcksNone {
		p.cancelAfterAll()
	}
	for i, e := range p.queued {
		if e.ctx = p.ctx; e.batch != nil { // and so is the only one
			e.free = free
		}
		s.queueIn(req.GetTransaction(), storageclient.PartitionID{Topic: t.ID, Index: p.shares[i].partition}, e)
	}
	return p, nil
}

// cancelAfterAll ends the context with the last append, as nobody waits.
func (p *producing) cancelAfterAll() {
	left := new(atomic.Int32)
	left.Store(int32(len(p.queued)))
	for _, e := range p.queued {
		e.after = func() {
			if left.Add(-1) == 0 {
				p.cancel()
			}
		}
	}
}

// prepare fills in the shares and their entries.
func (p *producing) prepare(ctx context.Context, t *metadataclient.Topic, req *moldauv1.ProduceRequest, c *topicConfig) (err error) {
	if batch := req.GetRecordBatch(); len(batch) > 0 {
		h, err := record.ParseHeader(batch)
		if err != nil {
			return invalidBatch(err)
		}
		p.shares = []*share{{partition: req.GetPartition(), size: len(batch)}}
		p.queued = []*entry{{batch: batch, count: int(h.Count), producer: max(h.ProducerID, record.NoProducerID), first: h.BaseSequence}}
	} else {
		if p.shares, err = p.s.split(ctx, t, req, c.maxBatch); err != nil {
			return err
		}
		codec := codecOf[req.GetCompression()]
		if c.chosen {
			codec = c.codec
		}
		for _, sh := range p.shares {
			e := &entry{records: sh.records, count: len(sh.records), codec: codec, producer: record.NoProducerID, sequence: req.GetProducer()}
			if e.sequence != nil {
				e.producer, e.first = e.sequence.GetProducerId(), e.sequence.GetSequence()
			}
			p.queued = append(p.queued, e)
		}
	}
	for i, e := range p.queued {
		e.acks, e.expected, e.maxBatch, e.size = p.acks, req.ExpectedOffset, c.maxBatch, p.shares[i].size
		e.done = make(chan struct{})
	}
	return nil
}

func (p *producing) size() (n int64) {
	for _, e := range p.queued {
		n += int64(e.size)
	}
	return n
}

// admit takes a share of the budget for each entry; the lanes give it back.
func (s *Server) admit(ctx context.Context, size int64) error {
	if size > s.cfg.MaxInFlightBytes {
		return errcode.New(errcode.ResourceExhausted, "%d bytes, the gateway holds %d", size, s.cfg.MaxInFlightBytes)
	}
	if s.bytes.TryAcquire(size) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProduceTimeout)
	defer cancel()
	if err := s.bytes.Acquire(ctx, size); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errcode.Wrap(err, errcode.ResourceExhausted, "%d bytes of records wait for storage nodes", s.cfg.MaxInFlightBytes)
		}
		return err
	}
	return nil
}

// wait returns the answer once every share is appended, or was not.
func (p *producing) wait() *moldauv1.ProduceResponse {
	resp := &moldauv1.ProduceResponse{Results: make([]*moldauv1.ProduceResult, len(p.shares))}
	for i, sh := range p.shares {
		e := p.queued[i]
		res := &moldauv1.ProduceResult{
			Partition: sh.partition, RecordIndexes: sh.indexes, RecordCount: int32(e.count), BaseOffset: -1,
		}
		resp.Results[i] = res
		if p.acks == storageclient.AcksNone {
			continue
		}
		out, err := p.outcome(e)
		if err != nil {
			res.Error = rangeError(err, sh.indexes)
			continue
		}
		res.BaseOffset, res.LeaderEpoch, res.Duplicate = out.BaseOffset, out.LeaderEpoch, out.Duplicate
		if out.LogAppendTimeMs >= 0 {
			res.LogAppendTime = timestamppb.New(timeOf(out.LogAppendTimeMs))
		}
	}
	if p.acks != storageclient.AcksNone {
		p.cancel()
	}
	resp.Origin = p.s.origin()
	return resp
}

func (p *producing) outcome(e *entry) (storageclient.AppendResult, error) {
	select {
	case <-e.done:
		return e.result, e.err
	default:
	}
	select {
	case <-e.done:
		return e.result, e.err
	case <-p.ctx.Done():
		return storageclient.AppendResult{}, p.ctx.Err()
	}
}

// rangeError is the face of an error inside an answer. Where the error names
// a record of its batch, the caller gets the index in the request.
func rangeError(err error, indexes []int32) *moldauv1.RangeError {
	e := errcode.Of(err)
	if at, bad := strconv.Atoi(e.Metadata["record_index"]); bad == nil && at >= 0 && at < len(indexes) {
		e = e.With("record_index", indexes[at])
	}
	return &moldauv1.RangeError{Reason: string(e.Reason), Message: e.Message, Retryable: e.Retryable(), Metadata: e.Metadata}
}

// topicToWrite returns the topic, created where that is wanted.
func (s *Server) topicToWrite(ctx context.Context, name string) (*metadataclient.Topic, error) {
	t, err := s.topic(name, "topic")
	if err == nil {
		return t, errIfInternal(name)
	}
	if !s.cfg.AutoCreateTopics || !errcode.Is(err, errcode.UnknownTopic) {
		return nil, err
	}
	_, made := s.CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: name})
	if made != nil && !errcode.Is(made, errcode.TopicAlreadyExists) {
		return nil, errcode.Of(made).WithField("topic")
	}
	return s.awaitTopic(ctx, name)
}

// awaitTopic waits for a topic that another gateway may just have created.
func (s *Server) awaitTopic(ctx context.Context, name string) (*metadataclient.Topic, error) {
	tries := s.router.Attempts()
	for {
		tries.Begin()
		t, err := s.topic(name, "topic")
		if err == nil || !tries.Wait(ctx) {
			return t, err
		}
	}
}

func errIfInternal(name string) error {
	if err := mayChange(name); err != nil {
		return errcode.Of(err).WithField("topic")
	}
	return nil
}

// producerIDs hands out ids from blocks of the controller's.
type producerIDs struct {
	meta metadataclient.Client
	turn chan struct{} // held by who takes one; a channel, so that waiting ends with the caller

	first, left int64
}

func newProducerIDs(meta metadataclient.Client) *producerIDs {
	return &producerIDs{meta: meta, turn: make(chan struct{}, 1)}
}

func (p *producerIDs) next(ctx context.Context) (int64, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if p.left == 0 {
		resp, err := p.meta.AllocateProducerIds(ctx, &metadatav1.AllocateProducerIdsRequest{})
		if err != nil {
			return 0, err
		}
		if resp.GetCount() < 1 {
			return 0, errcode.New(errcode.Internal, "the controller handed out no producer ids")
		}
		p.first, p.left = resp.GetFirstId(), int64(resp.GetCount())
	}
	id := p.first
	p.first, p.left = p.first+1, p.left-1
	return id, nil
}
