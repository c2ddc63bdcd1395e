//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// copyKafka copies a topic into another, exactly once, by franz-go's session of
// a group and transactions, until ctx ends. Whatever goes wrong, it begins anew
// with the same transactional id.
func copyKafka(ctx context.Context, r *recorder, process int, brokers []string, group, from, to string) error {
	for ctx.Err() == nil {
		session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(brokers...), kgo.TransactionalID(fmt.Sprintf("%s-%d", group, process)),
			kgo.ConsumerGroup(group), kgo.ConsumeTopics(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionTimeout(txnTimeout), kgo.RecordDeliveryTimeout(callLimit),
			kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		if err := copySession(ctx, session, to); err != nil && ctx.Err() == nil {
			r.failed(process, err)
			rest(ctx, r.clk, retryPause)
		}
		session.CloseAllowingRebalance()
	}
	return nil
}

// copySession copies poll by poll until the session must be given up.
func copySession(ctx context.Context, s *kgo.GroupTransactSession, to string) error {
	for {
		fetches := s.PollRecords(ctx, 5*copyAtOnce)
		if ctx.Err() != nil {
			return nil
		}
		if fetches.Empty() {
			continue
		}
		if err := s.Begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		var failed error
		promise := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(rec *kgo.Record) {
			s.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: to, Partition: rec.Partition, Value: rec.Value}, promise.Promise())
		})
		failed = promise.Err()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		_, err := s.End(bounded, kgo.TransactionEndTry(failed == nil))
		cancel()
		if err = errors.Join(failed, err); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
}
