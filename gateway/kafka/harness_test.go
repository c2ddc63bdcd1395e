package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc"

	"moldau.dev/gateway"
	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/transport"
	storagenode "moldau.dev/storage-node"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// cluster is a whole platform in this process, its disks in memory.
type cluster struct {
	t       *testing.T
	meta    *metadata.Service
	door    metadataclient.Client
	gateway *gateway.Service
	addr    string
	grpc    *grpc.ClientConn
}

// nodeID is the broker id of the gateway under test.
const nodeID = 7

type option func(*setup)

type setup struct {
	nodes   int
	dir     string // of the nodes' files; empty: their disks are in memory
	gateway gateway.Config
}

func storageNodes(n int) option { return func(s *setup) { s.nodes = n } }

// onDisk gives the nodes real files.
func onDisk(dir string) option { return func(s *setup) { s.dir = dir } }

func gatewayConfig(edit func(*gateway.Config)) option {
	return func(s *setup) { edit(&s.gateway) }
}

func newCluster(t *testing.T, opts ...option) *cluster {
	t.Helper()
	set := setup{nodes: 1, gateway: gateway.DefaultConfig()}
	set.gateway.GRPCListen, set.gateway.HTTPListen, set.gateway.KafkaListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	set.gateway.NodeID, set.gateway.AutoCreateTopics = nodeID, true
	for _, o := range opts {
		o(&set)
	}
	c := &cluster{t: t}
	cfg := metadata.Default()
	cfg.StoreKind = metadata.StoreMemory
	c.meta = must(metadata.NewService(cfg, metadata.Deps{}))
	check(t, c.meta.Start(t.Context()))
	t.Cleanup(func() { check(t, c.meta.Stop(context.Background())) })
	c.door = c.metadataDoor(metadataclient.Options{Watcher: "gateway"})
	pool := storageclient.NewPool(c.door.View, transport.DialOptions{})
	for i := range set.nodes {
		id := int32(i + 1)
		pool.AddLocal(id, c.storageNode(id, set.dir))
	}
	c.awaitNodes(set.nodes)
	c.startGateway(set.gateway, pool)
	return c
}

func (c *cluster) metadataDoor(opts metadataclient.Options) metadataclient.Client {
	door := metadataclient.Local(c.meta, opts)
	c.t.Cleanup(func() { check(c.t, door.Close()) })
	return door
}

func (c *cluster) storageNode(id int32, dir string) storageclient.Storage {
	cfg := storagenode.DefaultConfig()
	cfg.NodeID, cfg.DataDir, cfg.HeartbeatInterval = id, path.Join(dir, fmt.Sprintf("node-%d", id)), 50*time.Millisecond
	var disk vfs.FS = vfs.NewMemory()
	if dir != "" {
		disk = vfs.OS{}
	}
	node := must(storagenode.NewService(cfg, storagenode.Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler),
		Metadata: c.metadataDoor(metadataclient.Options{Watcher: cfg.DataDir}), FS: disk,
	}))
	check(c.t, node.Start(c.t.Context()))
	c.t.Cleanup(func() { check(c.t, node.Stop(context.Background())) })
	return node.Storage()
}

// awaitNodes waits until the controller lets n nodes lead.
func (c *cluster) awaitNodes(n int) {
	for {
		changed, live := c.door.Changed(), 0
		for _, node := range c.door.View().Nodes {
			if !node.Fenced {
				live++
			}
		}
		if live == n {
			return
		}
		select {
		case <-changed:
		case <-c.t.Context().Done():
			c.t.Fatalf("%d nodes are live, want %d", live, n)
		}
	}
}

func (c *cluster) startGateway(cfg gateway.Config, nodes *storageclient.Pool) {
	c.gateway = must(gateway.NewService(cfg, gateway.Deps{Metadata: c.door, Nodes: nodes, Version: "test"}))
	check(c.t, c.gateway.Start(c.t.Context()))
	c.addr = c.gateway.KafkaAddr()
	c.grpc = must(transport.Dial(c.gateway.GRPCAddr(), transport.DialOptions{MaxRecvBytes: 32 << 20}))
	c.t.Cleanup(func() {
		_ = c.grpc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		check(c.t, c.gateway.Stop(ctx))
	})
}

// client returns a kgo client that is closed with the test.
func (c *cluster) client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl := must(kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.addr), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryTimeout(10 * time.Second), kgo.FetchMaxWait(time.Second),
	}, opts...)...))
	c.t.Cleanup(cl.Close)
	return cl
}

// topic creates a topic through the gRPC door and returns its id.
func (c *cluster) topic(name string, partitions int32, configs map[string]string) [16]byte {
	c.t.Helper()
	_, err := moldauv1.NewTopicServiceClient(c.grpc).CreateTopic(c.t.Context(),
		&moldauv1.CreateTopicRequest{Name: name, PartitionCount: partitions, Configs: configs})
	check(c.t, err)
	t := c.door.View().Topics[name]
	if t == nil {
		c.t.Fatalf("topic %s is not in the gateway's view", name)
	}
	return t.ID
}

// ask sends one request in the version that it carries and returns the answer.
func ask[R kmsg.Response](c *cluster, req kmsg.Request) R {
	c.t.Helper()
	resp, err := dial(c.t, c.addr).ask(req)
	check(c.t, err)
	return resp.(R)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
