// sarama is IBM/sarama as a program.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"moldau.dev/services/test/kafkaclients/go/client"
)

func main() {
	client.Main(client.Library{Produce: produce, Consume: consume, Transact: transact, Copy: copyRecords})
}

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func config() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V3_6_0_0
	cfg.Producer.RequiredAcks, cfg.Producer.Return.Successes = sarama.WaitForAll, true
	cfg.Producer.Idempotent, cfg.Net.MaxOpenRequests = true, 1
	cfg.Consumer.IsolationLevel, cfg.Consumer.Offsets.Initial = sarama.ReadCommitted, sarama.OffsetOldest
	cfg.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	return cfg
}

func messages(topic string, records []client.Record) (list []*sarama.ProducerMessage) {
	for _, r := range records {
		list = append(list, &sarama.ProducerMessage{
			Topic: topic, Key: sarama.ByteEncoder(r.Key), Value: sarama.ByteEncoder(r.Value),
			Headers: []sarama.RecordHeader{{Key: []byte("by"), Value: []byte("sarama")}},
		})
	}
	return list
}

func produce(broker, topic, codec string, records []client.Record) error {
	cfg := config()
	cfg.Producer.Compression = codecs[codec]
	producer, err := sarama.NewSyncProducer([]string{broker}, cfg)
	if err != nil {
		return err
	}
	return errors.Join(producer.SendMessages(messages(topic, records)), producer.Close())
}

func consume(broker, topic string, count int, group string, hand func(client.Record)) error {
	if group != "" {
		return member(broker, topic, group, 1, count, func(lot []*sarama.ConsumerMessage, session sarama.ConsumerGroupSession) error {
			hand(record(lot[0]))
			session.MarkMessage(lot[0], "") // committed each second and in the end: a commit waits behind the fetches of its connection
			return nil
		})
	}
	consumer, err := sarama.NewConsumer([]string{broker}, config())
	if err != nil {
		return err
	}
	partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	for range count {
		hand(record(<-partition.Messages()))
	}
	return errors.Join(partition.Close(), consumer.Close())
}

func record(m *sarama.ConsumerMessage) client.Record {
	return client.Record{By: m.Headers[0].Value, Key: m.Key, Value: m.Value}
}

// member reads count records in a group, at most size of one partition at once.
func member(broker, topic, group string, size, count int, hand func([]*sarama.ConsumerMessage, sarama.ConsumerGroupSession) error) error {
	g, err := sarama.NewConsumerGroup([]string{broker}, group, config())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	turn := make(chan int, 1) // what is left to read, held by who reads
	turn <- count
	c := &claims{size: size, turn: turn, hand: hand, done: cancel}
	for ctx.Err() == nil && err == nil {
		err = g.Consume(ctx, []string{topic}, c)
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, c.failed, g.Close())
}

type claims struct {
	size   int
	turn   chan int
	hand   func([]*sarama.ConsumerMessage, sarama.ConsumerGroupSession) error
	done   func()
	failed error // written by who holds the turn
}

func (*claims) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *claims) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		lot := []*sarama.ConsumerMessage{m}
		left := <-c.turn
	gather:
		for len(lot) < min(c.size, left) {
			select {
			case next, open := <-claim.Messages():
				if !open {
					break gather
				}
				lot = append(lot, next)
			default:
				break gather
			}
		}
		if left > 0 && session.Context().Err() == nil {
			if c.failed = c.hand(lot, session); c.failed != nil {
				left = 0
			} else {
				left -= len(lot)
			}
		}
		if left == 0 {
			c.done()
		}
		c.turn <- left
	}
	return nil
}

func transactional(broker, id string) (sarama.SyncProducer, error) {
	cfg := config()
	cfg.Producer.Transaction.ID = id
	return sarama.NewSyncProducer([]string{broker}, cfg)
}

func transact(broker, topic string, records []client.Record) error {
	producer, err := transactional(broker, "sarama-"+topic)
	if err != nil {
		return err
	}
	for _, lot := range client.Lots(records) {
		if err := errors.Join(producer.BeginTxn(), producer.SendMessages(messages(topic, client.Doomed(lot))), producer.AbortTxn()); err != nil {
			return fmt.Errorf("abort: %w", err)
		}
		if err := errors.Join(producer.BeginTxn(), producer.SendMessages(messages(topic, lot)), producer.CommitTxn()); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return producer.Close()
}

func copyRecords(broker, from, to, group string, count int) error {
	producer, err := transactional(broker, "sarama-"+to)
	if err != nil {
		return err
	}
	err = member(broker, from, group, client.Lot, count, func(lot []*sarama.ConsumerMessage, _ sarama.ConsumerGroupSession) error {
		var records []client.Record
		for _, m := range lot {
			records = append(records, record(m))
		}
		return errors.Join(producer.BeginTxn(), producer.SendMessages(messages(to, records)),
			producer.AddMessageToTxn(lot[len(lot)-1], group, nil), producer.CommitTxn())
	})
	return errors.Join(err, producer.Close())
}
