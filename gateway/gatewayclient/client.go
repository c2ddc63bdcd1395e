// Package gatewayclient is the Go client of moldau: what a program imports to
// produce, to read, alone or in a group, and to administer. It speaks moldau.v1 over gRPC to any
// gateway; the generated stubs are there for all that it does not wrap. Its
// examples are its manual.
//
// Invariant: what a call reports as produced was appended once, however often
// it had to be sent.
package gatewayclient

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
	"moldau.dev/services/transport"
)

// maxAnswerBytes is more than any answer of a gateway.
const maxAnswerBytes = 64 << 20

// Options shape a Client. The zero value speaks plain text.
type Options struct {
	Credentials credentials.TransportCredentials // nil: plain text
	Clock       clock.Clock                      // nil: the real one
	Log         *slog.Logger                     // nil: silent
	Metrics     prometheus.Registerer            // nil: none
	Tracing     trace.TracerProvider             // nil: none
}

// Client is a connection to gateways. It is safe for concurrent use. Errors
// are *errcode.Error: their Reason says what to do.
type Client struct {
	conn *grpc.ClientConn
	clk  clock.Clock
	log  *slog.Logger
}

// Dial returns a client of the gateways at a gRPC target, such as
// localhost:9090 or dns:///gateways:9090, or at a list of addresses with commas
// between them, over which calls are spread. It connects when first used.
func Dial(target string, o Options) (*Client, error) {
	dial := transport.DialOptions{
		Audience: transport.External, Credentials: o.Credentials, Metrics: o.Metrics, Tracing: o.Tracing, MaxRecvBytes: maxAnswerBytes,
	}
	if list := strings.Split(target, ","); len(list) > 1 {
		target, dial.Resolver, dial.RoundRobin = discovery.Target(role), discovery.NewResolver(listed(list)), true
	}
	conn, err := transport.Dial(target, dial)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, clk: o.Clock, log: o.Log}
	if c.clk == nil {
		c.clk = clock.Real()
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// role is what discovery calls the addresses of a list.
const role = "gateway"

func listed(addrs []string) discovery.Static {
	var list []discovery.Instance
	for _, addr := range addrs {
		list = append(list, discovery.Instance{ID: addr, Addr: strings.TrimSpace(addr)})
	}
	return discovery.Static{role: list}
}

// Close closes the connection. Close producers before it.
func (c *Client) Close() error { return c.conn.Close() }

// Topics creates, shows, changes and deletes topics.
func (c *Client) Topics() moldauv1.TopicServiceClient { return moldauv1.NewTopicServiceClient(c.conn) }

// Records produces without a Producer: each call is its own.
func (c *Client) Records() moldauv1.ProduceServiceClient {
	return moldauv1.NewProduceServiceClient(c.conn)
}

// Offsets fetches, streams and looks offsets up without a Reader.
func (c *Client) Offsets() moldauv1.ReadServiceClient { return moldauv1.NewReadServiceClient(c.conn) }

// Transactions begins, ends and shows transactions.
func (c *Client) Transactions() moldauv1.TransactionServiceClient {
	return moldauv1.NewTransactionServiceClient(c.conn)
}

// GroupOffsets commits and fetches the offsets of groups.
func (c *Client) GroupOffsets() moldauv1.OffsetServiceClient {
	return moldauv1.NewOffsetServiceClient(c.conn)
}

// Groups shows, moves and deletes groups.
func (c *Client) Groups() moldauv1.GroupServiceClient { return moldauv1.NewGroupServiceClient(c.conn) }

// Cluster shows the cluster.
func (c *Client) Cluster() moldauv1.ClusterServiceClient {
	return moldauv1.NewClusterServiceClient(c.conn)
}
