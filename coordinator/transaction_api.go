package coordinator

import (
	"context"
	"math"
	"unicode/utf8"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// transactionAPI serves the RPCs about transactions.
type transactionAPI struct {
	meta metadataclient.Client
	// shardOf returns the shard of transactions with an index, if it is this
	// coordinator's; else the error is NOT_COORDINATOR.
	shardOf func(index int32) (*shard.Shard, error)
	// shards are all that are this coordinator's, by index.
	shards func() map[int32]*shard.Shard
}

// byID is the shard of a transactional id.
func (a *transactionAPI) byID(id string) (*shard.Shard, error) {
	const field = "transactional_id"
	shards := len(a.meta.View().Shards)
	switch {
	case len(id) > txn.MaxIDBytes:
		return nil, errcode.New(errcode.InvalidArgument, "a transactional id of %d bytes, at most %d are allowed", len(id), txn.MaxIDBytes).WithField(field)
	case !utf8.ValidString(id):
		return nil, errcode.New(errcode.InvalidArgument, "the transactional id is not UTF-8").WithField(field)
	case shards == 0:
		return nil, errcode.New(errcode.CoordinatorUnavailable, "the cluster has no coordinator yet")
	}
	return a.shardOf(coordinatorclient.ShardOf(id, shards))
}

// ask asks the shard of a transactional id.
func ask[A any](ctx context.Context, a *transactionAPI, id string, question any) (*A, error) {
	s, err := a.byID(id)
	if err != nil {
		return nil, err
	}
	return shard.Ask[A](ctx, s, question)
}

// InitProducer gives a producer its id and epoch.
func (a *transactionAPI) InitProducer(ctx context.Context, req *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
	expected, err := identity(req.GetProducerId(), req.GetProducerEpoch())
	if err != nil {
		return nil, err
	}
	who, err := ask[txn.Identity](ctx, a, req.GetTransactionalId(), txn.InitProducer{
		ID: req.GetTransactionalId(), TimeoutMs: req.GetTransactionTimeoutMs(), Expected: expected,
	})
	if err != nil {
		return nil, err
	}
	return &coordinatorv1.InitProducerResponse{ProducerId: who.ProducerID, ProducerEpoch: int32(who.Epoch)}, nil
}

// identity reads what a producer says it is; -1 is Nobody's.
func identity(id int64, epoch int32) (txn.Identity, error) {
	if id < -1 || epoch < -1 || epoch > math.MaxInt16 {
		return txn.Nobody, errcode.New(errcode.InvalidArgument, "producer id %d with epoch %d cannot be", id, epoch).WithField("producer_epoch")
	}
	return txn.Identity{ProducerID: id, Epoch: int16(epoch)}, nil
}

// AddPartitions adds partitions to a transaction, or verifies that they are in.
func (a *transactionAPI) AddPartitions(ctx context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	view := a.meta.View()
	partitions := make([]txn.Partition, len(req.GetPartitions()))
	for i, p := range req.GetPartitions() {
		var err error
		if partitions[i], err = partitionOf(view, p); err != nil {
			return nil, err
		}
	}
	question, err := adding(req.GetTransactionalId(), req.GetProducerId(), req.GetProducerEpoch(), req.GetVerifyOnly(), view)
	if err != nil {
		return nil, err
	}
	question.Participants = txn.NewParticipants(append([]txn.Partition(nil), partitions...), nil)
	found, err := ask[txn.Verdict](ctx, a, question.ID, question)
	if err != nil {
		return nil, err
	}
	by := make(map[txn.Partition]*errcode.Error, len(partitions))
	for i, p := range question.Participants.Partitions {
		by[p] = found.Partitions[i]
	}
	resp := &coordinatorv1.AddPartitionsResponse{Errors: make([]*coordinatorv1.PartError, len(partitions))}
	for i, p := range partitions {
		resp.Errors[i] = &coordinatorv1.PartError{}
		if e := by[p]; e != nil {
			resp.Errors[i] = &coordinatorv1.PartError{Reason: string(e.Reason), Message: e.Message}
		}
	}
	return resp, nil
}

func adding(id string, producer int64, epoch int32, verify bool, view *metadataclient.View) (txn.AddParticipants, error) {
	who, err := identity(producer, epoch)
	return txn.AddParticipants{ID: id, Producer: who, VerifyOnly: verify, Revision: view.Revision}, err
}

// partitionOf finds a partition by its topic's id, or name. A topic that is not
// known is refused, so that from a known revision on its absence means that it
// is deleted (T10).
func partitionOf(view *metadataclient.View, p *coordinatorv1.TransactionPartition) (txn.Partition, error) {
	t := view.Topics[p.GetTopic()]
	if len(p.GetTopicId()) > 0 {
		id, err := topicid.FromBytes(p.GetTopicId())
		if err != nil {
			return txn.Partition{}, errcode.Wrap(err, errcode.InvalidArgument, "%v", err).WithField("partitions.topic_id")
		}
		t = view.TopicsByID[id]
	}
	switch {
	case t == nil:
		return txn.Partition{}, errcode.New(errcode.UnknownTopicID, "no such topic is known at revision %d", view.Revision).WithField("partitions")
	case topicconfig.IsInternal(t.Name):
		return txn.Partition{}, errcode.New(errcode.InvalidTopicName, "nobody but the platform writes to %s", t.Name).WithField("partitions")
	case p.GetPartition() < 0 || int(p.GetPartition()) >= len(t.Partitions):
		return txn.Partition{}, errcode.New(errcode.UnknownPartition, "%s has %d partitions, %d is not one", t.Name, len(t.Partitions), p.GetPartition()).
			WithField("partitions")
	}
	return txn.Partition{Topic: t.ID, Index: p.GetPartition()}, nil
}

// AddOffsets adds a group's offsets to a transaction, or verifies that they are
// in.
func (a *transactionAPI) AddOffsets(ctx context.Context, req *coordinatorv1.AddOffsetsRequest) (*coordinatorv1.AddOffsetsResponse, error) {
	view := a.meta.View()
	question, err := adding(req.GetTransactionalId(), req.GetProducerId(), req.GetProducerEpoch(), req.GetVerifyOnly(), view)
	if err != nil {
		return nil, err
	}
	if req.GetGroupId() == "" {
		return nil, errcode.New(errcode.InvalidGroupID, "the group's id is empty").WithField("group_id")
	}
	offsets := coordinatorclient.ShardOf(req.GetGroupId(), max(len(view.Shards), 1))
	question.Participants = txn.NewParticipants(nil, []int32{offsets})
	found, err := ask[txn.Verdict](ctx, a, question.ID, question)
	if err != nil {
		return nil, err
	}
	if e := found.OffsetShards[0]; e != nil {
		return nil, e
	}
	return &coordinatorv1.AddOffsetsResponse{CoordinatorEpoch: found.CoordinatorEpoch}, nil
}

// EndTransaction commits or aborts.
func (a *transactionAPI) EndTransaction(ctx context.Context, req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
	holder, err := identity(req.GetProducerId(), req.GetProducerEpoch())
	if err != nil {
		return nil, err
	}
	if v := req.GetTransactionVersion(); !req.GetForce() && v != 1 && v != 2 {
		return nil, errcode.New(errcode.InvalidArgument, "transaction version %d is not known", v).WithField("transaction_version")
	}
	who, err := ask[txn.Identity](ctx, a, req.GetTransactionalId(), txn.EndTransaction{
		ID: req.GetTransactionalId(), Producer: holder, Commit: req.GetCommit(), Version: int8(req.GetTransactionVersion()),
		Force: req.GetForce(), AllowEmpty: req.GetAllowEmpty(),
	})
	if err != nil {
		return nil, err
	}
	return &coordinatorv1.EndTransactionResponse{ProducerId: who.ProducerID, ProducerEpoch: int32(who.Epoch)}, nil
}
