//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/services/test/faults/history"
)

// produceKafka is produceNative through the Kafka door, by franz-go.
func produceKafka(ctx context.Context, r *recorder, process int, brokers []string, topic string, partitions int32, pause time.Duration) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(time.Minute), kgo.ProducerLinger(0))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.Close()
	timer := r.clk.NewTimer(pause)
	defer timer.Stop()
	for ctx.Err() == nil {
		for partition := range partitions {
			value, invoked := r.next(), r.now()
			client.Produce(context.WithoutCancel(ctx), &kgo.Record{Partition: partition, Value: encode(value)}, func(rec *kgo.Record, err error) {
				r.sent(process, logName(topic, partition), value, rec.Offset, invoked, err, refused(err))
			})
		}
		select {
		case <-timer.C():
			timer.Reset(pause)
		case <-ctx.Done():
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if err := client.Flush(ending); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// refused tells whether an error says that nothing was appended.
func refused(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

// readKafka reads partitions from their start through the Kafka door until ctx
// ends.
func readKafka(ctx context.Context, r *recorder, process int, brokers []string, topic string, partitions int32) error {
	places := map[int32]kgo.Offset{}
	for partition := range partitions {
		places[partition] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places}))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		invoked := r.now()
		fetches := client.PollFetches(ctx)
		if err := unmendable(fetches); err != nil && ctx.Err() == nil {
			return fmt.Errorf("read: %w", err)
		}
		op := history.Op{Process: process, Invoke: invoked}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) == 0 {
				return
			}
			a := history.Action{Log: logName(p.Topic, p.Partition)}
			for _, rec := range p.Records {
				a.Records = append(a.Records, history.Record{Value: decode(rec.Value), Offset: rec.Offset})
			}
			op.Actions = append(op.Actions, a)
		})
		if len(op.Actions) > 0 {
			op.Complete = r.now()
			r.add(op)
		}
	}
	return nil
}

// unmendable returns the first error of a poll that the client does not try to
// mend itself: a log that went back, above all. In a topic of transactions
// franz-go thinks so where a marker of a new leader was the last that it saw: it
// passes markers without taking note of their epoch. There the history tells.
func unmendable(fetches kgo.Fetches) (err error) {
	fetches.EachError(func(topic string, partition int32, e error) {
		var lost *kgo.ErrDataLoss
		if errors.As(e, &lost) && topic != transactedTopic || errors.Is(e, kerr.OffsetOutOfRange) {
			err = fmt.Errorf("%s-%d: %w", topic, partition, e)
		}
	})
	return err
}
