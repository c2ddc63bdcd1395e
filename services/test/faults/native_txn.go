//go:build faults

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/test/faults/history"
)

const (
	txnPause   = 20 * time.Millisecond
	txnTimeout = 20 * time.Second
	callLimit  = 15 * time.Second // of one call
	endLimit   = time.Minute      // of one end of a transaction, however often it is asked for
	retryPause = 200 * time.Millisecond
)

// transactNative is transactKafka through the gRPC door.
func transactNative(ctx context.Context, r *recorder, process int, c *gatewayclient.Client, topic string, partitions int32, rng *rand.Rand) error {
	id := fmt.Sprintf("native-%d", process)
	var h *moldauv1.TransactionHandle
	for ctx.Err() == nil {
		if h == nil {
			var err error
			if h, err = beginNative(ctx, c, id); err != nil {
				r.failed(process, err)
				rest(ctx, r.clk, retryPause)
				continue
			}
		}
		h = transactNativeOnce(ctx, r, process, c, h, topic, partitions, rng)
		rest(ctx, r.clk, txnPause)
	}
	return nil
}

func beginNative(ctx context.Context, c *gatewayclient.Client, id string) (*moldauv1.TransactionHandle, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	resp, err := c.Transactions().BeginTransaction(ctx, &moldauv1.BeginTransactionRequest{TransactionalId: id, Timeout: durationpb.New(txnTimeout)})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return resp.GetTransaction(), nil
}

// transactNativeOnce does one transaction of up to four values and returns the
// handle of the next one, nil where the client must begin anew.
func transactNativeOnce(ctx context.Context, r *recorder, process int, c *gatewayclient.Client, h *moldauv1.TransactionHandle, topic string, partitions int32, rng *rand.Rand) (next *moldauv1.TransactionHandle) {
	op := history.Op{Process: process, Txn: true, Invoke: r.now()}
	ctx = context.WithoutCancel(ctx)
	commit := rng.IntN(5) > 0
	for range 1 + rng.IntN(4) {
		value, partition := r.next(), rng.Int32N(partitions)
		written := history.Record{Value: value, Offset: history.NoOffset}
		offset, err := produceIn(ctx, c, h, topic, partition, [][]byte{encode(value)})
		if err == nil {
			written.Offset = offset
		} else {
			r.failed(process, err)
			commit = false
		}
		op.Actions = append(op.Actions, history.Action{Log: logName(topic, partition), Write: true, Records: []history.Record{written}})
		if err != nil {
			break
		}
	}
	if commit {
		op.Commit = r.now()
	}
	next, outcome, err := endNative(ctx, r.clk, c, h, commit)
	if err != nil {
		r.failed(process, err)
	}
	switch {
	case !commit:
		op.Outcome, op.Complete = history.Failed, r.now() // a commit was never asked for
	default:
		if op.Outcome = outcome; outcome != history.Unknown {
			op.Complete = r.now()
		}
	}
	r.add(op)
	return next
}

// produceIn appends values to a partition within a transaction and returns the
// first one's offset.
func produceIn(ctx context.Context, c *gatewayclient.Client, h *moldauv1.TransactionHandle, topic string, partition int32, values [][]byte) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	req := &moldauv1.ProduceRequest{Topic: topic, Partition: &partition, Transaction: h}
	for _, v := range values {
		req.Records = append(req.Records, &moldauv1.Record{Value: v})
	}
	resp, err := c.Records().Produce(ctx, req)
	if err != nil {
		return 0, fmt.Errorf("produce: %w", err)
	}
	if n := len(resp.GetResults()); n != 1 {
		return 0, fmt.Errorf("produce: %d results for one partition", n)
	}
	result := resp.GetResults()[0]
	if e := result.GetError(); e != nil {
		return 0, fmt.Errorf("produce: %s: %s", e.GetReason(), e.GetMessage())
	}
	return result.GetBaseOffset(), nil
}

// endNative ends a transaction. It asks until there is an answer, as the API
// allows, and where the end is refused it asks how the transaction did end.
func endNative(ctx context.Context, clk clock.Clock, c *gatewayclient.Client, h *moldauv1.TransactionHandle, commit bool) (*moldauv1.TransactionHandle, history.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for {
		next, err := askEnd(ctx, c, h, commit)
		switch {
		case err == nil:
			return next, history.OK, nil
		case ctx.Err() != nil:
			return nil, history.Unknown, fmt.Errorf("end: %w", err)
		case !errcode.Of(err).Retryable() && errcode.ReasonOf(err) != errcode.RequestTimedOut:
			outcome, lookedUp := outcomeOf(ctx, clk, c, h)
			if lookedUp != nil {
				err = fmt.Errorf("%w; %w", err, lookedUp)
			}
			return nil, outcome, fmt.Errorf("end: %w", err)
		}
		rest(ctx, clk, retryPause)
	}
}

func askEnd(ctx context.Context, c *gatewayclient.Client, h *moldauv1.TransactionHandle, commit bool) (*moldauv1.TransactionHandle, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if commit {
		resp, err := c.Transactions().CommitTransaction(ctx, &moldauv1.CommitTransactionRequest{Transaction: h})
		return resp.GetNext(), err
	}
	resp, err := c.Transactions().AbortTransaction(ctx, &moldauv1.AbortTransactionRequest{Transaction: h})
	return resp.GetNext(), err
}

// outcomeOf looks up how a transaction ended.
func outcomeOf(ctx context.Context, clk clock.Clock, c *gatewayclient.Client, h *moldauv1.TransactionHandle) (history.Outcome, error) {
	for {
		resp, err := c.Transactions().GetTransaction(ctx, &moldauv1.GetTransactionRequest{
			TransactionalId: h.GetTransactionalId(), ProducerId: &h.ProducerId, ProducerEpoch: &h.ProducerEpoch,
		})
		switch {
		case err == nil && resp.GetOutcome() == moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED:
			return history.OK, nil
		case err == nil && resp.GetOutcome() == moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_ABORTED:
			return history.Failed, nil
		case err == nil:
			return history.Unknown, nil
		case ctx.Err() != nil:
			return history.Unknown, fmt.Errorf("look the outcome up: %w", err)
		}
		rest(ctx, clk, retryPause)
	}
}

// rest waits a while, or until ctx ends.
func rest(ctx context.Context, clk clock.Clock, d time.Duration) {
	timer := clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
