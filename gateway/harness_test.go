package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// rig is a gateway on loopback, over a cluster in memory.
type rig struct {
	t       testing.TB
	meta    *gatewaytest.Metadata
	storage *gatewaytest.Storage
	nodes   *gatewaytest.Nodes
	service *gateway.Service
	metrics *prometheus.Registry
	grpc    *grpc.ClientConn
}

func newRig(t testing.TB, adjust ...func(*gateway.Config, *gateway.Deps)) *rig {
	t.Helper()
	r := &rig{t: t, meta: gatewaytest.NewMetadata(), storage: gatewaytest.NewStorage(clock.Real()), metrics: prometheus.NewRegistry()}
	r.nodes = gatewaytest.NewNodes(r.storage)
	cfg := gateway.DefaultConfig()
	cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	deps := gateway.Deps{Metadata: r.meta, Nodes: r.nodes, Version: "test", Registerer: r.metrics}
	for _, f := range adjust {
		f(&cfg, &deps)
	}
	var err error
	if r.service, err = gateway.NewService(cfg, deps); err != nil {
		t.Fatal(err)
	}
	if err := r.service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.grpc, err = transport.Dial(r.service.GRPCAddr(), transport.DialOptions{MaxRecvBytes: 32 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.grpc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.service.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) topic(name string, partitions int32) {
	r.t.Helper()
	api := grpcAPI{r.grpc}
	if _, err := api.CreateTopic(r.t.Context(), &moldauv1.CreateTopicRequest{Name: name, PartitionCount: partitions}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) url(path string) string { return "http://" + r.service.HTTPAddr() + path }

// rest makes a call and returns status and decoded answer.
func (r *rig) rest(method, path, body string) (int, map[string]any) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), bytes.NewBufferString(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(text, &answer); err != nil {
		r.t.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, text, err)
	}
	return resp.StatusCode, answer
}

// api is moldau.v1 as each protocol's generated client gives it.
type api interface {
	CreateTopic(context.Context, *moldauv1.CreateTopicRequest) (*moldauv1.CreateTopicResponse, error)
	GetTopic(context.Context, *moldauv1.GetTopicRequest) (*moldauv1.GetTopicResponse, error)
	ListTopics(context.Context, *moldauv1.ListTopicsRequest) (*moldauv1.ListTopicsResponse, error)
	UpdateTopic(context.Context, *moldauv1.UpdateTopicRequest) (*moldauv1.UpdateTopicResponse, error)
	AddPartitions(context.Context, *moldauv1.AddPartitionsRequest) (*moldauv1.AddPartitionsResponse, error)
	DeleteTopic(context.Context, *moldauv1.DeleteTopicRequest) (*moldauv1.DeleteTopicResponse, error)
	TrimTopic(context.Context, *moldauv1.TrimTopicRequest) (*moldauv1.TrimTopicResponse, error)
	Produce(context.Context, *moldauv1.ProduceRequest) (*moldauv1.ProduceResponse, error)
	InitProducer(context.Context, *moldauv1.InitProducerRequest) (*moldauv1.InitProducerResponse, error)
	Fetch(context.Context, *moldauv1.FetchRequest) (*moldauv1.FetchResponse, error)
	ListOffsets(context.Context, *moldauv1.ListOffsetsRequest) (*moldauv1.ListOffsetsResponse, error)
	GetCluster(context.Context, *moldauv1.GetClusterRequest) (*moldauv1.GetClusterResponse, error)
	Read(context.Context, *moldauv1.ReadRequest) (func() (*moldauv1.ReadResponse, error), error)
}

type grpcAPI struct{ conn *grpc.ClientConn }

func (a grpcAPI) topics() moldauv1.TopicServiceClient { return moldauv1.NewTopicServiceClient(a.conn) }
func (a grpcAPI) CreateTopic(ctx context.Context, r *moldauv1.CreateTopicRequest) (*moldauv1.CreateTopicResponse, error) {
	return a.topics().CreateTopic(ctx, r)
}

func (a grpcAPI) GetTopic(ctx context.Context, r *moldauv1.GetTopicRequest) (*moldauv1.GetTopicResponse, error) {
	return a.topics().GetTopic(ctx, r)
}

func (a grpcAPI) ListTopics(ctx context.Context, r *moldauv1.ListTopicsRequest) (*moldauv1.ListTopicsResponse, error) {
	return a.topics().ListTopics(ctx, r)
}

func (a grpcAPI) UpdateTopic(ctx context.Context, r *moldauv1.UpdateTopicRequest) (*moldauv1.UpdateTopicResponse, error) {
	return a.topics().UpdateTopic(ctx, r)
}

func (a grpcAPI) AddPartitions(ctx context.Context, r *moldauv1.AddPartitionsRequest) (*moldauv1.AddPartitionsResponse, error) {
	return a.topics().AddPartitions(ctx, r)
}

func (a grpcAPI) DeleteTopic(ctx context.Context, r *moldauv1.DeleteTopicRequest) (*moldauv1.DeleteTopicResponse, error) {
	return a.topics().DeleteTopic(ctx, r)
}

func (a grpcAPI) TrimTopic(ctx context.Context, r *moldauv1.TrimTopicRequest) (*moldauv1.TrimTopicResponse, error) {
	return a.topics().TrimTopic(ctx, r)
}

func (a grpcAPI) Produce(ctx context.Context, r *moldauv1.ProduceRequest) (*moldauv1.ProduceResponse, error) {
	return moldauv1.NewProduceServiceClient(a.conn).Produce(ctx, r)
}

func (a grpcAPI) InitProducer(ctx context.Context, r *moldauv1.InitProducerRequest) (*moldauv1.InitProducerResponse, error) {
	return moldauv1.NewProduceServiceClient(a.conn).InitProducer(ctx, r)
}

func (a grpcAPI) Fetch(ctx context.Context, r *moldauv1.FetchRequest) (*moldauv1.FetchResponse, error) {
	return moldauv1.NewReadServiceClient(a.conn).Fetch(ctx, r)
}

func (a grpcAPI) ListOffsets(ctx context.Context, r *moldauv1.ListOffsetsRequest) (*moldauv1.ListOffsetsResponse, error) {
	return moldauv1.NewReadServiceClient(a.conn).ListOffsets(ctx, r)
}

func (a grpcAPI) GetCluster(ctx context.Context, r *moldauv1.GetClusterRequest) (*moldauv1.GetClusterResponse, error) {
	return moldauv1.NewClusterServiceClient(a.conn).GetCluster(ctx, r)
}

func (a grpcAPI) Read(ctx context.Context, r *moldauv1.ReadRequest) (func() (*moldauv1.ReadResponse, error), error) {
	stream, err := moldauv1.NewReadServiceClient(a.conn).Read(ctx, r)
	if err != nil {
		return nil, err
	}
	return stream.Recv, nil
}

type connectAPI struct {
	moldauv1connect.TopicServiceClient
	moldauv1connect.ProduceServiceClient
	moldauv1connect.ClusterServiceClient
	read moldauv1connect.ReadServiceClient
}

func (a connectAPI) Fetch(ctx context.Context, r *moldauv1.FetchRequest) (*moldauv1.FetchResponse, error) {
	return a.read.Fetch(ctx, r)
}

func (a connectAPI) ListOffsets(ctx context.Context, r *moldauv1.ListOffsetsRequest) (*moldauv1.ListOffsetsResponse, error) {
	return a.read.ListOffsets(ctx, r)
}

func (a connectAPI) Read(ctx context.Context, r *moldauv1.ReadRequest) (func() (*moldauv1.ReadResponse, error), error) {
	stream, err := a.read.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	return stream.Receive, nil
}

func (r *rig) connect(opts ...connecthttp.Option) connectAPI {
	c := connect.NewClient(connecthttp.NewTransport(http.DefaultClient, r.url(""), opts...))
	return connectAPI{
		TopicServiceClient: moldauv1connect.NewTopicServiceClient(c), ProduceServiceClient: moldauv1connect.NewProduceServiceClient(c),
		ClusterServiceClient: moldauv1connect.NewClusterServiceClient(c), read: moldauv1connect.NewReadServiceClient(c),
	}
}

// reasonOf reads the reason from the error of either kind of client.
func reasonOf(err error) errcode.Reason {
	if ce, ok := asConnect(err); ok {
		for _, d := range ce.Details() {
			m, failed := connectproto.UnmarshalErrorDetail(d)
			if failed != nil {
				continue
			}
			if info, ok := m.(interface{ GetReason() string }); ok {
				return errcode.Reason(info.GetReason())
			}
		}
		return errcode.Reason(fmt.Sprintf("no reason in %v", err))
	}
	return errcode.ReasonOf(err)
}
