// kafka-go is segmentio/kafka-go as a program; it has no transactions.
package main

import (
	"context"
	"errors"

	"github.com/segmentio/kafka-go"

	"moldau.dev/services/test/kafkaclients/go/client"
)

func main() { client.Main(client.Library{Produce: produce, Consume: consume}) }

var codecs = map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func produce(broker, topic, codec string, records []client.Record) error {
	w := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, RequiredAcks: kafka.RequireAll, Compression: codecs[codec], Balancer: &kafka.Hash{}}
	var list []kafka.Message
	for _, r := range records {
		list = append(list, kafka.Message{Key: r.Key, Value: r.Value, Headers: []kafka.Header{{Key: "by", Value: []byte("kafka-go")}}})
	}
	return errors.Join(w.WriteMessages(context.Background(), list...), w.Close())
}

func consume(broker, topic string, count int, group string, hand func(client.Record)) error {
	cfg := kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, IsolationLevel: kafka.ReadCommitted}
	if group != "" {
		cfg.GroupID, cfg.StartOffset, cfg.GroupBalancers = group, kafka.FirstOffset, []kafka.GroupBalancer{kafka.RangeGroupBalancer{}}
	}
	r := kafka.NewReader(cfg)
	for range count {
		m, err := r.FetchMessage(context.Background())
		if err != nil {
			return err
		}
		hand(client.Record{By: m.Headers[0].Value, Key: m.Key, Value: m.Value})
		if group == "" {
			continue
		}
		if err := r.CommitMessages(context.Background(), m); err != nil {
			return err
		}
	}
	return r.Close()
}
