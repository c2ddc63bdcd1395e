package coordinator

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// offsetsTopic is where Kafka's clients expect the offsets of a transaction.
const offsetsTopic = "__consumer_offsets"

// maxPatternBytes bounds the expression that ids are picked by.
const maxPatternBytes = 1024

// ListTransactions lists the transactions of the shards that are served here.
func (a *transactionAPI) ListTransactions(ctx context.Context, req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
	question := txn.List{States: req.GetStates(), ProducerIDs: req.GetProducerIds(), LongerThanMs: req.GetLongerThanMs()}
	if p := req.GetIdPattern(); len(p) > maxPatternBytes {
		return nil, errcode.New(errcode.InvalidRegularExpression, "%d bytes, at most %d are allowed", len(p), maxPatternBytes).WithField("id_pattern")
	} else if p != "" {
		var err error
		if question.ID, err = regexp.Compile("^(?:" + p + ")$"); err != nil {
			return nil, errcode.Wrap(err, errcode.InvalidRegularExpression, "%v", err).WithField("id_pattern")
		}
	}
	resp := &coordinatorv1.ListTransactionsResponse{}
	shards := a.shards()
	for _, index := range slices.Sorted(maps.Keys(shards)) {
		listed, err := shard.Ask[[]txn.Listed](ctx, shards[index], question)
		switch {
		case err == nil:
			for _, l := range *listed {
				resp.Transactions = append(resp.Transactions, listTransaction(l))
			}
		case ctx.Err() != nil:
			return nil, err
		default: // loading, or just lost: another coordinator may not list it yet
			resp.LoadingShards = append(resp.LoadingShards, index)
		}
	}
	slices.SortFunc(resp.Transactions, func(x, y *coordinatorv1.Transaction) int {
		return strings.Compare(x.GetTransactionalId(), y.GetTransactionalId())
	})
	return resp, nil
}

// DescribeTransactions describes transactions of one shard.
func (a *transactionAPI) DescribeTransactions(ctx context.Context, req *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error) {
	resp := &coordinatorv1.DescribeTransactionsResponse{}
	if len(req.GetTransactionalIds()) == 0 {
		return resp, nil
	}
	listed, err := ask[[]txn.Listed](ctx, a, req.TransactionalIds[0], txn.Describe{IDs: req.GetTransactionalIds()})
	if err != nil {
		return nil, err
	}
	view := a.meta.View()
	for _, l := range *listed {
		resp.Transactions = append(resp.Transactions, describeTransaction(view, l))
	}
	return resp, nil
}

// listTransaction is the contract's picture of a transactional id, without
// partitions.
func listTransaction(l txn.Listed) *coordinatorv1.Transaction {
	t := &coordinatorv1.Transaction{
		TransactionalId: l.ID, ProducerId: l.Producer.ProducerID, ProducerEpoch: int32(l.Producer.Epoch), State: l.State.String(),
		TimeoutMs: l.TimeoutMs, StartTimeMs: -1, UpdateTimeMs: l.UpdateMs, Ended: l.Ended.Proto(),
	}
	if l.StartMs > 0 {
		t.StartTimeMs = l.StartMs
	}
	return t
}

// describeTransaction is the contract's picture of a transactional id.
func describeTransaction(view *metadataclient.View, l txn.Listed) *coordinatorv1.Transaction {
	if l.Record == nil {
		return &coordinatorv1.Transaction{TransactionalId: l.ID, Error: &coordinatorv1.PartError{
			Reason: string(errcode.UnknownTransaction), Message: "no such transactional id is known",
		}}
	}
	t := listTransaction(l)
	for _, p := range l.Participants.Partitions {
		name := ""
		if known := view.TopicsByID[p.Topic]; known != nil {
			name = known.Name
		}
		t.Partitions = append(t.Partitions, &coordinatorv1.TransactionPartition{Topic: name, TopicId: p.Topic[:], Partition: p.Index})
	}
	for _, s := range l.Participants.OffsetShards {
		p := &coordinatorv1.TransactionPartition{Topic: offsetsTopic, Partition: s}
		if known := view.Topics[offsetsTopic]; known != nil {
			p.TopicId = known.ID[:]
		}
		t.Partitions = append(t.Partitions, p)
	}
	return t
}
