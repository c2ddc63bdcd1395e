package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
	storagenode "moldau.dev/storage-node"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// cluster is a real controller and storage node with coordinators over them, in
// a bubble whose time passes when all wait.
type cluster struct {
	*testing.T
	controller *metadata.Service
	meta       metadataclient.Client // of the client
	nodes      *storageclient.Pool
	client     *coordinatorclient.Router

	mu           sync.Mutex
	listeners    map[string]*bufconn.Listener // by address
	coordinators map[int32]*instance
}

// instance is one coordinator that a test can cut off and kill.
type instance struct {
	*Service
	meta   *cuttable
	server *grpc.Server
}

// cuttable is a coordinator's metadata, which can be out of its reach.
type cuttable struct {
	metadataclient.Client
	cut    atomic.Bool
	frozen atomic.Pointer[metadataclient.View]
}

func (c *cuttable) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	if c.cut.Load() {
		return nil, errcode.New(errcode.ControllerUnavailable, "cut off")
	}
	return c.Client.Heartbeat(ctx, req)
}

func (c *cuttable) View() *metadataclient.View {
	if v := c.frozen.Load(); v != nil {
		return v
	}
	return c.Client.View()
}

// freeze stops views and heartbeats.
func (c *cuttable) freeze() {
	c.frozen.Store(c.Client.View())
	c.cut.Store(true)
}

const shards = 4

func inCluster(t *testing.T, test func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{T: t, listeners: map[string]*bufconn.Listener{}, coordinators: map[int32]*instance{}}
		c.startBelow()
		test(c)
	})
}

func (c *cluster) startBelow() {
	cfg := metadata.Default()
	cfg.StoreKind, cfg.CoordinatorShards = metadata.StoreMemory, shards
	var err error
	if c.controller, err = metadata.NewService(cfg, metadata.Deps{Clock: clock.Real()}); err != nil {
		c.Fatal(err)
	}
	c.must(c.controller.Start(c.Context()))
	c.Cleanup(func() { _ = c.controller.Stop(context.Background()) })
	nodeMeta := metadataclient.Local(c.controller, metadataclient.Options{Watcher: "node"})
	c.Cleanup(func() { _ = nodeMeta.Close() })
	nodeCfg := storagenode.DefaultConfig()
	nodeCfg.NodeID, nodeCfg.DataDir = 1, "/data"
	node, err := storagenode.NewService(nodeCfg, storagenode.Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: nodeMeta, FS: vfs.NewMemory(),
	})
	if err != nil {
		c.Fatal(err)
	}
	c.must(node.Start(c.Context()))
	c.Cleanup(func() { _ = node.Stop(context.Background()) })

	c.meta = metadataclient.Local(c.controller, metadataclient.Options{Watcher: "client"})
	c.nodes = storageclient.NewPool(c.meta.View, transport.DialOptions{})
	c.nodes.AddLocal(1, node.Storage())
	c.client = coordinatorclient.New(c.meta, coordinatorclient.Options{Transport: transport.DialOptions{Dialer: c.dial}})
	c.Cleanup(func() {
		_ = c.client.Close()
		_ = c.nodes.Close()
		_ = c.meta.Close()
	})
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	l := c.listeners[addr]
	c.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %s", addr)
	}
	return l.DialContext(ctx)
}

// start starts a coordinator; each time at another address.
func (c *cluster) start(id int32) *instance {
	c.Helper()
	c.mu.Lock()
	addr := fmt.Sprintf("coordinator-%d-%d", id, len(c.listeners))
	l := bufconn.Listen(1 << 20)
	c.listeners[addr] = l
	c.mu.Unlock()
	i := &instance{meta: &cuttable{Client: metadataclient.Local(c.controller, metadataclient.Options{Watcher: addr})}}
	cfg := DefaultConfig()
	cfg.ID, cfg.Advertise = id, "passthrough:///"+addr
	var err error
	i.Service, err = NewService(cfg, Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: i.meta, Nodes: c.nodes, Transport: transport.DialOptions{Dialer: c.dial},
	})
	if err != nil {
		c.Fatal(err)
	}
	i.server = transport.NewServer(transport.Options{})
	i.Register(i.server)
	go func() { _ = i.server.Serve(l) }()
	c.coordinators[id] = i
	c.must(i.Start(c.Context()))
	c.Cleanup(func() { c.kill(i) })
	return i
}

// kill ends a coordinator without a word to anybody.
func (c *cluster) kill(i *instance) {
	i.meta.cut.Store(true)
	i.server.Stop()
	_ = i.Stop(context.Background())
	_ = i.meta.Close()
}

// serving waits until a coordinator serves n shards.
func (c *cluster) serving(i *instance, n int) {
	c.Helper()
	for range 600 {
		synctest.Wait()
		if n == len(i.groupShards()) && allServe(i.groupShards()) && allServe(i.transactionShards()) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.Fatalf("it holds %d shards, want %d", len(i.groupShards()), n)
}

func allServe(shards map[int32]*shard.Shard) bool {
	for _, s := range shards {
		if s.State() != shard.Serving {
			return false
		}
	}
	return true
}

// owner is the coordinator that a group's shard is with.
func (c *cluster) owner(group string) *instance {
	v := c.meta.View()
	return c.coordinators[v.Shards[coordinatorclient.ShardOf(group, len(v.Shards))].Owner]
}

func (c *cluster) commit(group string, offset int64) error {
	r, err := c.client.CommitOffsets(c.Context(), &coordinatorv1.CommitOffsetsRequest{
		GroupId: group, Generation: -1, Offsets: []*coordinatorv1.Offset{{Topic: "t", Offset: offset, LeaderEpoch: -1}},
	})
	if err == nil && r.GetErrors()[0].GetReason() != "" {
		err = errcode.New(errcode.Reason(r.GetErrors()[0].GetReason()), "")
	}
	return err
}

// committed is a group's offset, from whoever has its shard, once it is there.
func (c *cluster) committed(group string) int64 {
	c.Helper()
	for range 600 {
		r, err := c.client.FetchOffsets(c.Context(), fetchOne(group))
		c.must(err)
		g := r.GetGroups()[0]
		if g.GetError().GetReason() == "" {
			return g.GetOffsets()[0].GetOffset()
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.Fatalf("nobody tells of group %s", group)
	return 0
}

func fetchOne(group string) *coordinatorv1.FetchOffsetsRequest {
	return &coordinatorv1.FetchOffsetsRequest{Groups: []*coordinatorv1.FetchGroupOffsets{{
		GroupId: group, MemberEpoch: -1, Keys: []*coordinatorv1.OffsetKey{{Topic: "t"}},
	}}}
}
