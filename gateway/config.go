package gateway

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"moldau.dev/gateway/native"
	"moldau.dev/services/config"
)

// Config is all that an operator can set on a gateway.
type Config struct {
	// GRPCListen is where grpc-go listens.
	GRPCListen string `koanf:"grpc_listen"`
	// HTTPListen is where Connect, gRPC-Web, gRPC over h2c and REST are served.
	HTTPListen string `koanf:"http_listen"`
	// KafkaListen is where Kafka's protocol is served.
	KafkaListen string `koanf:"kafka_listen"`
	// KafkaAdvertised is the HOST:PORT that Kafka clients are sent to, port 0
	// being that of the listener; empty is where it listens.
	KafkaAdvertised string `koanf:"kafka_advertised"`
	// NodeID is the broker id that Kafka clients see of this gateway. Each
	// gateway has its own, which never changes.
	NodeID int32 `koanf:"node_id"`
	// Rack is where the gateway stands, for clients that read nearby (broker.rack).
	Rack string `koanf:"rack"`
	// AllowedOrigins are the web origins whose pages may call; each may hold one *.
	AllowedOrigins []string `koanf:"allowed_origins"`
	// Reflection lets anyone read the contract by gRPC reflection.
	Reflection bool `koanf:"reflection"`
	// TokenSecret signs the tokens that clients go on with at other gateways: the
	// same for all gateways of a cluster. Without it, tokens can be forged by who
	// knows the cluster's id.
	TokenSecret config.Secret `koanf:"token_secret"`
	// TokenSecretBefore is what TokenSecret was before it was changed: tokens that
	// were signed with it are good still.
	TokenSecretBefore config.Secret `koanf:"token_secret_before"`
	// AutoCreateTopics makes producing to an unknown topic create it.
	AutoCreateTopics bool `koanf:"auto_create_topics"`

	// HeartbeatInterval is how often a Read stream beats.
	HeartbeatInterval time.Duration `koanf:"heartbeat_interval"`
	// CallTimeout bounds calls that come without a deadline, and every produce.
	CallTimeout time.Duration `koanf:"call_timeout"`
	// MaxRequestBytes bounds the records of one produce.
	MaxRequestBytes int `koanf:"max_request_bytes"`
	// MaxInFlightBytes bounds the records of all produces under way.
	MaxInFlightBytes int64 `koanf:"max_in_flight_bytes"`
	// StreamInFlightBytes bounds the records of one ProduceStream that are not answered.
	StreamInFlightBytes int64 `koanf:"stream_in_flight_bytes"`
	// MaxStreamPartitions bounds the partitions of one Read.
	MaxStreamPartitions int `koanf:"max_stream_partitions"`

	// KafkaMaxRequestBytes bounds one Kafka request (socket.request.max.bytes).
	KafkaMaxRequestBytes int `koanf:"kafka_max_request_bytes"`
	// KafkaMaxInFlightBytes bounds all Kafka requests in memory.
	KafkaMaxInFlightBytes int64 `koanf:"kafka_max_in_flight_bytes"`
	// KafkaMaxConnections bounds the Kafka clients that are connected.
	KafkaMaxConnections int `koanf:"kafka_max_connections"`
	// KafkaIdleTimeout closes Kafka connections without requests
	// (connections.max.idle.ms).
	KafkaIdleTimeout time.Duration `koanf:"kafka_idle_timeout"`
}

// DefaultConfig returns the configuration of an operator who sets nothing: for one
// machine, reached from it alone.
func DefaultConfig() Config {
	return Config{
		GRPCListen:     "127.0.0.1:9090",
		HTTPListen:     "127.0.0.1:8080",
		KafkaListen:    "127.0.0.1:9092",
		NodeID:         1,
		AllowedOrigins: []string{"http://localhost:*", "http://127.0.0.1:*"},
		Reflection:     true,

		HeartbeatInterval:   5 * time.Second,
		CallTimeout:         30 * time.Second,
		MaxRequestBytes:     16 << 20,
		MaxInFlightBytes:    256 << 20,
		StreamInFlightBytes: 4 << 20,
		MaxStreamPartitions: 10_000,

		KafkaMaxRequestBytes:  100 << 20,
		KafkaMaxInFlightBytes: 256 << 20,
		KafkaMaxConnections:   20_000,
		KafkaIdleTimeout:      10 * time.Minute,
	}
}

// Validate returns every fault of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("gateway config: %s: %s", name, fmt.Sprintf(format, args...)))
	}
	for name, addr := range map[string]string{"grpc_listen": c.GRPCListen, "http_listen": c.HTTPListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad(name, "%v", err)
		}
	}
	for _, o := range c.AllowedOrigins {
		if o == "" || strings.Count(o, "*") > 1 {
			bad("allowed_origins", "%q is not an origin with at most one *", o)
		}
	}
	if c.HeartbeatInterval < 100*time.Millisecond || c.HeartbeatInterval > 10*time.Second {
		bad("heartbeat_interval", "%s is not within 100ms to 10s", c.HeartbeatInterval)
	}
	if c.CallTimeout < 100*time.Millisecond {
		bad("call_timeout", "%s is below 100ms", c.CallTimeout)
	}
	if c.MaxRequestBytes < 1<<10 || c.MaxRequestBytes > 64<<20 {
		bad("max_request_bytes", "%d is not within 1 KiB to 64 MiB", c.MaxRequestBytes)
	}
	if c.MaxInFlightBytes < 4*int64(c.MaxRequestBytes) {
		bad("max_in_flight_bytes", "%d is below four times max_request_bytes", c.MaxInFlightBytes)
	}
	if c.StreamInFlightBytes < 64<<10 {
		bad("stream_in_flight_bytes", "%d is below 64 KiB", c.StreamInFlightBytes)
	}
	if c.MaxStreamPartitions < 1 {
		bad("max_stream_partitions", "%d is below 1", c.MaxStreamPartitions)
	}
	c.validateKafka(bad)
	return errors.Join(errs...)
}

func (c Config) native() native.Config {
	return native.Config{
		AutoCreateTopics:    c.AutoCreateTopics,
		HeartbeatInterval:   c.HeartbeatInterval,
		ProduceTimeout:      c.CallTimeout,
		MaxInFlightBytes:    c.MaxInFlightBytes,
		StreamInFlightBytes: c.StreamInFlightBytes,
		MaxRequestBytes:     c.MaxRequestBytes,
		MaxStreamPartitions: c.MaxStreamPartitions,
		TokenSecret:         c.TokenSecret.Reveal(),
		TokenSecretBefore:   c.TokenSecretBefore.Reveal(),
	}
}
