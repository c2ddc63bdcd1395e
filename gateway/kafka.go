package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"

	"moldau.dev/gateway/kafka"
	"moldau.dev/services/transport"
)

// kafka is what an operator set, as the Kafka door takes it.
func (c Config) kafka() kafka.Config {
	return kafka.Config{
		NodeID:           c.NodeID,
		Rack:             c.Rack,
		Advertised:       c.KafkaAdvertised,
		AutoCreateTopics: c.AutoCreateTopics,
		MaxRequestBytes:  c.KafkaMaxRequestBytes,
		MaxInFlightBytes: c.KafkaMaxInFlightBytes,
		MaxConnections:   c.KafkaMaxConnections,
		IdleTimeout:      c.KafkaIdleTimeout,
		CallTimeout:      c.CallTimeout,
	}
}

func (c Config) validateKafka(bad func(name, format string, args ...any)) {
	host, _, err := net.SplitHostPort(c.KafkaListen)
	if err != nil {
		bad("kafka_listen", "%v", err)
	}
	if c.KafkaAdvertised != "" {
		if _, _, err := net.SplitHostPort(c.KafkaAdvertised); err != nil {
			bad("kafka_advertised", "%v", err)
		}
	} else if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		bad("kafka_advertised", "empty, and kafka_listen %q names no host that clients could be sent to", c.KafkaListen)
	}
	if c.NodeID < 0 {
		bad("node_id", "%d is negative", c.NodeID)
	}
	if c.KafkaMaxRequestBytes < 1<<20 || c.KafkaMaxRequestBytes > 1<<30 {
		bad("kafka_max_request_bytes", "%d is not within 1 MiB to 1 GiB", c.KafkaMaxRequestBytes)
	}
	if c.KafkaMaxInFlightBytes < 2*int64(c.KafkaMaxRequestBytes) {
		bad("kafka_max_in_flight_bytes", "%d is below twice kafka_max_request_bytes", c.KafkaMaxInFlightBytes)
	}
	if c.KafkaMaxConnections < 1 {
		bad("kafka_max_connections", "%d is below 1", c.KafkaMaxConnections)
	}
	if c.KafkaIdleTimeout <= 0 {
		bad("kafka_idle_timeout", "%s is not positive", c.KafkaIdleTimeout)
	}
}

// listenKafka opens the Kafka door; nobody is served yet.
func (s *Service) listenKafka(lis net.Listener, err error) error {
	if err != nil {
		return fmt.Errorf("listen for Kafka: %w", err)
	}
	s.kafkaLis = lis
	if err := s.kafka.Advertise(lis.Addr()); err != nil {
		return errors.Join(err, lis.Close())
	}
	return nil
}

// KafkaAddr is where Kafka's protocol is served, once started.
func (s *Service) KafkaAddr() string { return s.kafkaLis.Addr().String() }

func (s *Service) stopKafka(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transport.HardStopAfter)
	defer cancel()
	s.kafka.Close(ctx)
}
