package guard

import (
	"context"
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// appending is one Append under way.
type appending struct {
	txn     *Transaction
	req     *storageclient.AppendRequest
	headers [][record.HeaderSize]byte // as they came: nodes write into batches
	results []storageclient.AppendResult
	left    []int // partitions without a final result
	waiting []int // those of left that got a guard which is not confirmed
}

func newAppending(txn *Transaction, req *storageclient.AppendRequest) *appending {
	n := len(req.Partitions)
	a := &appending{
		txn: txn, req: req, headers: make([][record.HeaderSize]byte, n), results: make([]storageclient.AppendResult, n), left: make([]int, n),
	}
	for i := range req.Partitions {
		copy(a.headers[i][:], req.Partitions[i].Batch)
		a.left[i] = i
	}
	return a
}

// try appends what is left, with the guards that are confirmed.
func (a *appending) try(ctx context.Context, node storageclient.Storage) error {
	req := &storageclient.AppendRequest{Acks: a.req.Acks, Partitions: make([]storageclient.AppendPartition, len(a.left))}
	if len(a.left) == len(a.req.Partitions) {
		req.Ordered = a.req.Ordered
	}
	for j, i := range a.left {
		copy(a.req.Partitions[i].Batch, a.headers[i][:])
		req.Partitions[j] = a.req.Partitions[i]
		req.Partitions[j].TransactionVersion = a.txn.Version
		req.Partitions[j].Guard = a.results[i].VerifyGuard
	}
	resp, err := node.Append(ctx, req)
	if err != nil {
		return err
	}
	if len(resp.Results) != len(a.left) {
		return errcode.New(errcode.Internal, "a storage node answered for %d partitions, %d were asked", len(resp.Results), len(a.left))
	}
	tried := a.left
	a.left, a.waiting = nil, nil
	for j, i := range tried {
		a.results[i] = resp.Results[j]
		switch guarded := req.Partitions[j].Guard != 0; {
		case a.results[i].VerifyGuard != 0:
			a.left, a.waiting = append(a.left, i), append(a.waiting, i)
		case a.mayPass(a.results[i].Err, guarded):
			a.left = append(a.left, i)
		}
	}
	return nil
}

// mayPass tells whether a partition's error is one of the moment: the
// transaction before still completes there, or its marker came just now and
// took the guard with it. Under version 1 that guard may have been of the
// transaction that ended, and there is no telling.
func (a *appending) mayPass(err error, guarded bool) bool {
	return errcode.Is(err, errcode.ConcurrentTransactions) ||
		guarded && a.txn.Version >= 2 && errcode.Is(err, errcode.InvalidTransactionState)
}

// verdict takes in what the coordinator found of each partition that waits.
func (a *appending) verdict(found []*coordinatorv1.PartError) {
	waiting := a.waiting
	a.waiting = nil
	for j, i := range waiting {
		if reason := found[j].GetReason(); reason != "" {
			known, ok := errcode.ParseReason(reason)
			if !ok {
				known = errcode.Internal
			}
			a.settle(i, errcode.New(known, "%s", found[j].GetMessage()))
		}
	}
}

// refuse is a verdict on all partitions that wait.
func (a *appending) refuse(err error) {
	waiting := a.waiting
	a.waiting = nil
	for _, i := range waiting {
		a.settle(i, errcode.Of(err))
	}
}

// settle notes why a partition's guard is not confirmed. Nothing was appended.
func (a *appending) settle(i int, err *errcode.Error) {
	if err.Reason == errcode.ProducerFenced {
		err = errcode.Wrap(err, errcode.InvalidProducerEpoch, "%s", err.Message)
	}
	a.results[i] = storageclient.AppendResult{Err: err, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1, LeaderEpoch: -1}
	if !passes(err) {
		a.left = slices.DeleteFunc(a.left, func(left int) bool { return left == i })
	}
}

// passes tells whether the coordinator may say otherwise soon.
func passes(err *errcode.Error) bool {
	switch err.Reason {
	case errcode.ConcurrentTransactions, errcode.CoordinatorLoading, errcode.CoordinatorUnavailable, errcode.NotCoordinator, errcode.UnknownTopicID:
		return true
	default:
		return false
	}
}

// confirmed tells whether a partition waits for nothing but its next try.
func (a *appending) confirmed() bool {
	return slices.ContainsFunc(a.left, func(i int) bool { return a.results[i].VerifyGuard != 0 })
}

// response is what is known when no more is tried.
func (a *appending) response() *storageclient.AppendResponse {
	for _, i := range a.left {
		if a.results[i].VerifyGuard != 0 {
			a.settle(i, errcode.New(errcode.ConcurrentTransactions, "the partition's guard died before it could be used, again and again"))
		}
	}
	return &storageclient.AppendResponse{Results: a.results}
}
