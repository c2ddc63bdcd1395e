// confluent is confluentinc/confluent-kafka-go, which is librdkafka, as a
// program.
package main

import (
	"context"
	"errors"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"moldau.dev/services/test/kafkaclients/go/client"
)

func main() {
	client.Main(client.Library{Produce: produce, Consume: consumeBy("classic"), Next: consumeBy("consumer"), Transact: transact, Copy: copyRecords})
}

// send waits until all records are acknowledged.
func send(p *kafka.Producer, topic string, records []client.Record) error {
	done := make(chan kafka.Event, len(records))
	for _, r := range records {
		err := p.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Key: r.Key, Value: r.Value,
			Headers: []kafka.Header{{Key: "by", Value: []byte("confluent-go")}},
		}, done)
		if err != nil {
			return err
		}
	}
	var failed error
	for range records {
		failed = errors.Join(failed, (<-done).(*kafka.Message).TopicPartition.Error)
	}
	return failed
}

func produce(broker, topic, codec string, records []client.Record) error {
	p, err := kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": broker, "enable.idempotence": true, "compression.type": codec})
	if err != nil {
		return err
	}
	defer p.Close()
	return send(p, topic, records)
}

func consumer(broker, topic, group, protocol string) (*kafka.Consumer, error) {
	name := group
	if name == "" {
		name = "none"
	}
	config := kafka.ConfigMap{"bootstrap.servers": broker, "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": false, "group.protocol": protocol}
	if protocol == "classic" {
		config["partition.assignment.strategy"] = "range"
	}
	c, err := kafka.NewConsumer(&config)
	if err != nil {
		return nil, err
	}
	if group != "" {
		return c, c.Subscribe(topic, nil)
	}
	return c, c.Assign([]kafka.TopicPartition{{Topic: &topic, Partition: 0, Offset: 0}})
}

func record(m *kafka.Message) client.Record {
	return client.Record{By: m.Headers[0].Value, Key: m.Key, Value: m.Value}
}

func consumeBy(protocol string) func(broker, topic string, count int, group string, hand func(client.Record)) error {
	return func(broker, topic string, count int, group string, hand func(client.Record)) error {
		return consume(broker, topic, count, group, protocol, hand)
	}
}

func consume(broker, topic string, count int, group, protocol string, hand func(client.Record)) error {
	c, err := consumer(broker, topic, group, protocol)
	if err != nil {
		return err
	}
	for range count {
		m, err := c.ReadMessage(-1)
		if err != nil {
			return err
		}
		hand(record(m))
		if group == "" {
			continue
		}
		if _, err := c.CommitMessage(m); err != nil {
			return err
		}
	}
	return c.Close()
}

func transactional(broker, id string) (*kafka.Producer, error) {
	p, err := kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": broker, "transactional.id": id})
	if err != nil {
		return nil, err
	}
	return p, p.InitTransactions(context.Background())
}

func transact(broker, topic string, records []client.Record) error {
	p, err := transactional(broker, "confluent-go-"+topic)
	if err != nil {
		return err
	}
	defer p.Close()
	ctx := context.Background()
	for _, lot := range client.Lots(records) {
		if err := errors.Join(p.BeginTransaction(), send(p, topic, client.Doomed(lot)), p.AbortTransaction(ctx)); err != nil {
			return err
		}
		if err := errors.Join(p.BeginTransaction(), send(p, topic, lot), p.CommitTransaction(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func copyRecords(broker, from, to, group string, count int) error {
	c, err := consumer(broker, from, group, "classic")
	if err != nil {
		return err
	}
	p, err := transactional(broker, "confluent-go-"+to)
	if err != nil {
		return err
	}
	defer p.Close()
	for count > 0 {
		var lot []client.Record
		for len(lot) < min(client.Lot, count) {
			m, err := c.ReadMessage(-1)
			if err != nil {
				return err
			}
			lot = append(lot, record(m))
		}
		count -= len(lot)
		assigned, err := c.Assignment()
		if err != nil {
			return err
		}
		offsets, err := c.Position(assigned)
		if err != nil {
			return err
		}
		group, err := c.GetConsumerGroupMetadata()
		if err != nil {
			return err
		}
		if err := errors.Join(p.BeginTransaction(), send(p, to, lot), p.SendOffsetsToTransaction(context.Background(), offsets, group),
			p.CommitTransaction(context.Background())); err != nil {
			return err
		}
	}
	return c.Close()
}
