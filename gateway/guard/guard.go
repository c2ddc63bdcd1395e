// Package guard appends batches of transactions, for every door of the gateway
// (T7). The leader of a partition does not open a transaction on a client's
// word: it answers with a guard, the transaction's coordinator is asked, and
// the append is repeated with the guard. The two are on different floors, so it
// is the gateway, above both, that runs between them.
//
// Invariant: a batch goes with a guard only if the coordinator has said, after
// the guard was given, that the partition is in the transaction; "not known" is
// no yes (T8).
package guard

import (
	"context"
	"math/rand/v2"
	"time"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// Transaction is what a producer says about the batches of one append.
type Transaction struct {
	ID            string // transactional id
	ProducerID    int64
	ProducerEpoch int16
	// Version is the protocol that the producer speaks: 1, where it adds
	// partitions itself and they are only verified; 2, where appending adds them.
	Version int32
}

// Coordinators are whom transactions are asked about; coordinatorclient.Client
// is one.
type Coordinators interface {
	AddPartitions(ctx context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error)
}

// Guard appends batches of transactions. It keeps nothing between calls.
type Guard struct {
	coordinators Coordinators
	clk          clock.Clock
}

// New returns a Guard that asks coordinators.
func New(coordinators Coordinators, clk clock.Clock) *Guard {
	return &Guard{coordinators: coordinators, clk: clk}
}

const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
	// patience bounds how long an append waits for the transaction before it to
	// complete, and for a coordinator that answers.
	patience = 5 * time.Second
)

// Append appends req to node as Storage.Append does, each batch as part of txn;
// a nil txn is a plain append. What it returns for a partition is final: no
// result carries a VerifyGuard. It tries for a few seconds where the
// transaction before is still completing, or the coordinator moves; the errors
// are those of storage, and of AddPartitions, whose PRODUCER_FENCED is
// INVALID_PRODUCER_EPOCH here. The batches are lent for the call.
func (g *Guard) Append(ctx context.Context, node storageclient.Storage, txn *Transaction, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	if txn == nil {
		return node.Append(ctx, req)
	}
	a := newAppending(txn, req)
	until, pause, atOnce := g.clk.Now().Add(patience), firstPause, 2
	for {
		if err := a.try(ctx, node); err != nil {
			return nil, err
		}
		if err := g.confirm(ctx, a); err != nil {
			a.refuse(err)
		}
		switch {
		case len(a.left) == 0:
			return a.response(), nil
		case a.confirmed() && atOnce > 0:
			atOnce-- // as it goes nearly always: the batch is in at the second try
			continue
		case !g.clk.Now().Before(until) || !g.sleep(ctx, pause):
			return a.response(), nil
		}
		pause = min(2*pause, lastPause)
	}
}

func (g *Guard) sleep(ctx context.Context, d time.Duration) bool {
	timer := g.clk.NewTimer(d/2 + rand.N(d/2)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// confirm asks the coordinator about all partitions that wait for a guard.
func (g *Guard) confirm(ctx context.Context, a *appending) error {
	req := &coordinatorv1.AddPartitionsRequest{
		TransactionalId: a.txn.ID, ProducerId: a.txn.ProducerID, ProducerEpoch: int32(a.txn.ProducerEpoch), VerifyOnly: a.txn.Version < 2,
	}
	for _, i := range a.waiting {
		id := a.req.Partitions[i].PartitionID
		req.Partitions = append(req.Partitions, &coordinatorv1.TransactionPartition{TopicId: id.Topic[:], Partition: id.Index})
	}
	if len(req.Partitions) == 0 {
		return nil
	}
	resp, err := g.coordinators.AddPartitions(ctx, req)
	if err != nil {
		return err
	}
	if len(resp.GetErrors()) != len(a.waiting) {
		return errcode.New(errcode.Internal, "the coordinator answered for %d partitions, %d were asked", len(resp.GetErrors()), len(a.waiting))
	}
	a.verdict(resp.GetErrors())
	return nil
}
