package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/guard"
	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicconfig"
	"moldau.dev/storage-node/storageclient"
)

// check finds each partition and refuses what no node needs to see.
func (p *produced) check(view *metadataclient.View, version int16) {
	var seen map[storageclient.PartitionID]bool
	if len(p.parts) > 1 {
		seen = make(map[storageclient.PartitionID]bool, len(p.parts))
	}
	parts := p.parts
	for i := range p.topics {
		in := &p.topics[i]
		t, unknown := view.Topics[in.name], kerr.UnknownTopicOrPartition.Code
		if version >= 13 {
			t, unknown = view.TopicsByID[in.id], kerr.UnknownTopicID.Code
		}
		for j := range parts[:in.parts] {
			part := &parts[j]
			switch {
			case p.acks < -1 || p.acks > 1:
				part.code = kerr.InvalidRequiredAcks.Code
			case t == nil:
				part.code = unknown
			case topicconfig.IsInternal(t.Name):
				part.code = kerr.InvalidTopicException.Code
			default:
				if part.id, part.code = partitionOf(t, part.index); part.code == 0 {
					part.epoch = t.Partitions[part.index].LeaderEpoch
				}
				part.checkBatch(version)
			}
			if part.code != 0 || seen == nil {
				continue
			}
			if seen[part.id] {
				part.refuse(kerr.InvalidRecord, "a partition takes one batch of a request")
			}
			seen[part.id] = true
		}
		parts = parts[in.parts:]
	}
}

func (part *producedPart) refuse(code *kerr.Error, format string, args ...any) {
	part.code, part.err = code.Code, errcode.New(errcode.InvalidRecord, format, args...)
}

// checkBatch looks at what storage cannot know: whether the batch is the only
// one and of a kind that this version may send (ProduceRequest.validateRecords
// of Kafka). Storage checks the rest.
func (part *producedPart) checkBatch(version int16) {
	if part.code != 0 {
		return
	}
	h, err := record.ParseHeader(part.batch)
	switch bad, invalid := errors.AsType[*record.InvalidError](err); {
	case invalid && bad.Reason == record.Corrupt:
		part.refuse(kerr.CorruptMessage, "%v", bad)
	case invalid:
		part.refuse(kerr.InvalidRecord, "%v", bad)
	case err != nil || h.Size() > len(part.batch):
		part.refuse(kerr.InvalidRecord, "not one whole record batch")
	case h.Size() < len(part.batch):
		part.refuse(kerr.InvalidRecord, "more than one record batch")
	case version < 7 && h.Codec() == record.Zstd:
		part.refuse(kerr.UnsupportedCompressionType, "zstd needs Produce 7")
	default:
		part.safe, part.inTxn = h.Idempotent(), h.Idempotent() && h.Transactional()
		part.header = [record.HeaderSize]byte(part.batch)
	}
}

var acksOf = map[int16]storageclient.Acks{-1: storageclient.AcksAll, 0: storageclient.AcksNone, 1: storageclient.AcksLeader}

const (
	// leastTimeout leaves room for a disk to sync: Kafka's timeout is for
	// replicas alone.
	leastTimeout = time.Second
	mostTimeout  = 10 * time.Minute
)

// append sends each node its batches, and again what did not reach the leader.
// It calls ordered as AppendRequest.Ordered is called, if all go to one node.
func (p *produced) append(ctx context.Context, s *Server, ordered func()) {
	ctx, cancel := context.WithTimeout(ctx, min(max(p.timeout, leastTimeout), mostTimeout))
	defer cancel()
	p.appendThose(ctx, s, nil, ordered)
	if p.txn != nil {
		p.appendThose(ctx, s, p.txn, ordered)
	}
}

// appendThose appends the batches of a transaction, or of none.
func (p *produced) appendThose(ctx context.Context, s *Server, txn *guard.Transaction, ordered func()) {
	var ids []storageclient.PartitionID
	var indexes []int
	for i := range p.parts {
		if p.parts[i].code == 0 && p.parts[i].inTxn == (txn != nil) {
			ids, indexes = append(ids, p.parts[i].id), append(indexes, i)
		}
	}
	if len(ids) == 0 {
		return
	}
	part := func(i int) *producedPart { return &p.parts[indexes[i]] }
	errs := s.ask(ctx, ids, func(i int) bool { return part(i).safe }, func(ctx context.Context, targets []target) error {
		req := &storageclient.AppendRequest{Acks: acksOf[p.acks], Partitions: make([]storageclient.AppendPartition, len(targets))}
		if len(targets) == len(p.parts) {
			req.Ordered = ordered
		}
		for i := range targets {
			one := part(targets[i].index)
			copy(one.batch, one.header[:]) // a try before may have left its marks
			req.Partitions[i] = storageclient.AppendPartition{PartitionID: one.id, LeaderEpoch: targets[i].Epoch, Batch: one.batch}
		}
		resp, err := s.guard.Append(ctx, targets[0].Storage, txn, req)
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), len(targets)); err != nil {
			return err
		}
		for i := range resp.Results {
			part(targets[i].index).result, targets[i].err = resp.Results[i], resp.Results[i].Err
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			part(i).code, part(i).err = produceCodeOf(err), err
		}
	}
}

// produceCodeOf is dataCodeOf, but that a producer whose node does not answer
// shall look for the leader again.
func produceCodeOf(err error) int16 {
	if routing.Unreachable(err) && !errcode.Is(err, errcode.RequestTimedOut) {
		return kerr.NotLeaderForPartition.Code
	}
	return dataCodeOf(err)
}
