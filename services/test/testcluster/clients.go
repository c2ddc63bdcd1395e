package testcluster

import (
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "moldau.dev/proto/gen/moldau/v1"
)

const maxAnswer = 64 << 20

// GRPCAddr is the host and port of the gRPC door.
func (c *Cluster) GRPCAddr() string { return c.grpcAddr }

// HTTPAddr is the host and port of the HTTP door.
func (c *Cluster) HTTPAddr() string { return c.httpAddr }

// KafkaAddr is the host and port of the Kafka door.
func (c *Cluster) KafkaAddr() string { return c.kafkaAddr }

// HTTP is the base URL of the HTTP door.
func (c *Cluster) HTTP() string { return "http://" + c.httpAddr }

// Conn returns a connection to the gRPC door. The next Restart
// closes it.
func (c *Cluster) Conn(t testing.TB) *grpc.ClientConn {
	t.Helper()
	if c.conn != nil {
		return c.conn
	}
	conn, err := grpc.NewClient(c.grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(maxAnswer)))
	if err != nil {
		t.Fatalf("connect to %s: %v", c.grpcAddr, err)
	}
	c.conn = conn
	return conn
}

// Produce returns a client of ProduceService.
func (c *Cluster) Produce(t testing.TB) pb.ProduceServiceClient {
	t.Helper()
	return pb.NewProduceServiceClient(c.Conn(t))
}

// Read returns a client of ReadService.
func (c *Cluster) Read(t testing.TB) pb.ReadServiceClient {
	t.Helper()
	return pb.NewReadServiceClient(c.Conn(t))
}

// Topics returns a client of TopicService.
func (c *Cluster) Topics(t testing.TB) pb.TopicServiceClient {
	t.Helper()
	return pb.NewTopicServiceClient(c.Conn(t))
}

// CreateTopic creates a topic.
func (c *Cluster) CreateTopic(t testing.TB, name string, partitions int32, configs map[string]string) {
	t.Helper()
	req := &pb.CreateTopicRequest{Name: name, PartitionCount: partitions, Configs: configs}
	if _, err := c.Topics(t).CreateTopic(Context(t), req); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
}

// Command runs a verb of the command line against the cluster.
func (c *Cluster) Command(t testing.TB, stdin io.Reader, args ...string) Result {
	t.Helper()
	return Command(t, c.clientEnv(), stdin, args...)
}
