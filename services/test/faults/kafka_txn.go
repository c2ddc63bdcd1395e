//go:build faults

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/services/test/faults/history"
)

// transactKafka commits and aborts transactions over random partitions through
// the Kafka door until ctx ends, one after the other. After an end without an
// outcome it starts anew with the same transactional id, as its producer must
// (T18).
func transactKafka(ctx context.Context, r *recorder, process int, brokers []string, topic string, partitions int32, rng *rand.Rand) error {
	id := fmt.Sprintf("kafka-%d", process)
	for ctx.Err() == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(id), kgo.TransactionTimeout(20*time.Second),
			kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(time.Minute))
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		for ctx.Err() == nil && transactOnce(ctx, r, process, client, topic, partitions, rng) {
			rest(ctx, r.clk, txnPause)
		}
		client.CloseAllowingRebalance()
	}
	return nil
}

// transactOnce does one transaction of up to four values and tells whether the
// client can begin another.
func transactOnce(ctx context.Context, r *recorder, process int, client *kgo.Client, topic string, partitions int32, rng *rand.Rand) bool {
	if err := client.BeginTransaction(); err != nil {
		r.failed(process, err)
		return false
	}
	op := history.Op{Process: process, Txn: true, Invoke: r.now()}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var failed error
	for range 1 + rng.IntN(4) {
		value, partition := r.next(), rng.Int32N(partitions)
		written := history.Record{Value: value, Offset: history.NoOffset}
		rec, err := client.ProduceSync(bounded, &kgo.Record{Partition: partition, Value: encode(value)}).First()
		if err == nil {
			written.Offset = rec.Offset
		} else {
			failed = err
		}
		op.Actions = append(op.Actions, history.Action{Log: logName(topic, partition), Write: true, Records: []history.Record{written}})
		if err != nil {
			break
		}
	}
	commit := failed == nil && rng.IntN(5) > 0
	if commit {
		op.Commit = r.now()
	}
	err := client.EndTransaction(bounded, kgo.TransactionEndTry(commit))
	switch {
	case err != nil && commit:
		op.Outcome = history.Unknown
		r.failed(process, err)
	case !commit:
		op.Outcome, op.Complete = history.Failed, r.now() // a commit was never asked for
	default:
		op.Complete = r.now()
	}
	r.add(op)
	return err == nil && failed == nil
}
