package metadata

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func serve(t *testing.T, cfg Config, deps Deps) *Service {
	t.Helper()
	s, err := NewService(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.controller.WaitLeading(within(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func inMemory() Config {
	cfg := Default()
	cfg.StoreKind = StoreMemory
	return cfg
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func local(t *testing.T, s *Service, opts metadataclient.Options) metadataclient.Client {
	c := metadataclient.Local(s, opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// join puts a node into service.
func join(t *testing.T, c metadataclient.Client, id int32) *metadatav1.RegisterNodeResponse {
	t.Helper()
	r, err := c.RegisterNode(within(t), &metadatav1.RegisterNodeRequest{NodeId: id, Incarnation: "first", Address: fmt.Sprintf("node-%d:1", id)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Heartbeat(within(t), &metadatav1.HeartbeatRequest{NodeId: id, NodeEpoch: r.NodeEpoch, Revision: r.Revision, Ready: true})
	if err != nil || h.Fenced {
		t.Fatalf("heartbeat: %v, %v", h, err)
	}
	return r
}

func create(t *testing.T, c metadataclient.Client, name string, partitions int32) *metadatav1.CreateTopicResponse {
	t.Helper()
	r, err := c.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: name, PartitionCount: partitions})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitRevision(within(t), r.Revision); err != nil {
		t.Fatal(err)
	}
	return r
}

func overGRPC(t *testing.T, s *Service) metadataclient.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	s.Register(server)
	go func() { _ = server.Serve(listener) }()
	c, err := metadataclient.Dial(t.Context(), listener.Addr().String(), metadataclient.Options{Watcher: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); server.Stop() })
	return c
}

// TestLifeOfATopic tells it over both kinds of client.
func TestLifeOfATopic(t *testing.T) {
	for name, dial := range map[string]func(*testing.T, *Service) metadataclient.Client{
		"grpc":  overGRPC,
		"local": func(t *testing.T, s *Service) metadataclient.Client { return local(t, s, metadataclient.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, inMemory(), Deps{}))
			join(t, c, 0)
			join(t, c, 1)
			created := create(t, c, "t", 4)
			topic := c.View().Topics["t"]
			if len(topic.Partitions) != 4 || topic.Partitions[0].Leader != 0 || topic.Partitions[1].Leader != 1 {
				t.Fatalf("partitions %+v", topic.Partitions)
			}
			if _, err := c.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: "t"}); !errcode.Is(err, errcode.TopicAlreadyExists) {
				t.Fatalf("again: %v", err)
			}
			if _, err := c.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: "r3", ReplicationFactor: 3}); !errcode.Is(err, errcode.InvalidReplicationFactor) {
				t.Fatalf("three replicas: %v", err)
			}
			if _, err := c.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: "dry", ValidateOnly: true}); err != nil {
				t.Fatalf("validate only: %v", err)
			}
			grown, err := c.AddPartitions(within(t), &metadatav1.AddPartitionsRequest{Name: "t", PartitionCount: 6})
			if err != nil || len(grown.Topic.Partitions) != 6 {
				t.Fatalf("grow: %v %v", grown, err)
			}
			altered, err := c.AlterTopic(within(t), &metadatav1.AlterTopicRequest{Name: "t", Set: map[string]string{"retention.ms": "7"}})
			if err != nil || altered.Topic.Configs["retention.ms"] != "7" {
				t.Fatalf("alter: %v %v", altered, err)
			}
			deleted, err := c.DeleteTopic(within(t), &metadatav1.DeleteTopicRequest{Name: "t"})
			if err != nil || string(deleted.TopicId) != string(created.Topic.TopicId) {
				t.Fatalf("delete: %v %v", deleted, err)
			}
			if err := c.WaitRevision(within(t), deleted.Revision); err != nil {
				t.Fatal(err)
			}
			v := c.View()
			if len(v.Topics)+len(v.TopicsByID) != 0 || v.Deleted[topic.ID] != "t" || len(v.Nodes) != 2 {
				t.Fatalf("view %+v", v)
			}
		})
	}
}

func TestTenThousandPartitionsAreFewTransactions(t *testing.T) {
	dir := t.TempDir()
	embedded, err := store.OpenEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	faulty := storetest.Wrap(embedded)
	s := serve(t, inMemory(), Deps{Store: faulty})
	c := local(t, s, metadataclient.Options{})
	for id := range int32(3) {
		join(t, c, id)
	}
	before := faulty.Commits()
	create(t, c, "big", 10_000)
	if n := faulty.Commits() - before; n > 4 {
		t.Errorf("%d transactions", n)
	}
	leads := map[int32]int{}
	for _, p := range c.View().Topics["big"].Partitions {
		leads[p.Leader]++
	}
	if leads[0] < 3333 || leads[1] < 3333 || leads[2] < 3333 {
		t.Errorf("leaders %v", leads)
	}
	_ = c.Close()
	_ = s.Stop(t.Context())
	_ = embedded.Close()

	cfg := Default()
	cfg.DataDir = dir
	again := local(t, serve(t, cfg, Deps{}), metadataclient.Options{})
	if err := again.WaitRevision(within(t), 1); err != nil || len(again.View().Topics["big"].Partitions) != 10_000 {
		t.Fatalf("after a restart: %v", err)
	}
}

func TestSecondProcessOnTheSameFolderIsRefused(t *testing.T) {
	cfg := Default()
	cfg.DataDir = t.TempDir()
	serve(t, cfg, Deps{})
	if _, err := NewService(cfg, Deps{}); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("got %v", err)
	}
}

// TestLostAnswersOfTheStore: whatever the store forgets to say, a change
// happens once or the caller hears that it may not have (invariant 15).
func TestLostAnswersOfTheStore(t *testing.T) {
	for name, faults := range map[string][]storetest.Fault{
		"before": {storetest.LostBefore}, "after": {storetest.LostAfter},
		"before and after": {storetest.LostBefore, storetest.LostAfter}, "twice before": {storetest.LostBefore, storetest.LostBefore},
	} {
		t.Run(name, func(t *testing.T) {
			faulty := storetest.Wrap(store.NewMemory())
			c := local(t, serve(t, inMemory(), Deps{Store: faulty}), metadataclient.Options{})
			join(t, c, 0)
			faulty.Next(faults...)
			create(t, c, "t", 300)
			faulty.Next(faults...)
			if _, err := c.DeleteTopic(within(t), &metadatav1.DeleteTopicRequest{Name: "t"}); err != nil {
				t.Fatal(err)
			}
			faulty.Next(faults...)
			a, err := c.AllocateProducerIds(within(t), &metadatav1.AllocateProducerIdsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.AllocateProducerIds(within(t), &metadatav1.AllocateProducerIdsRequest{})
			if err != nil || a.FirstId != 0 || b.FirstId != 1000 {
				t.Fatalf("blocks at %d and %d: %v", a.GetFirstId(), b.GetFirstId(), err)
			}
		})
	}
}

// TestTakeover: a new controller carries on, and watchers follow it to a higher
// revision.
func TestTakeover(t *testing.T) {
	memory := store.NewMemory()
	c := local(t, serve(t, inMemory(), Deps{Store: memory}), metadataclient.Options{})
	join(t, c, 0)
	created := create(t, c, "t", 3)
	storetest.Depose(t, memory)
	if err := c.WaitRevision(within(t), created.Revision+1<<31); err != nil {
		t.Fatal(err)
	}
	v := c.View()
	if len(v.Topics["t"].Partitions) != 3 || v.Nodes[0].Fenced || v.Topics["t"].Partitions[0].LeaderEpoch != 0 {
		t.Fatalf("view after the takeover: %+v", v)
	}
	create(t, c, "u", 1)
}

func TestAnswersWaitForGateways(t *testing.T) {
	s := serve(t, inMemory(), Deps{})
	admin := local(t, s, metadataclient.Options{})
	join(t, admin, 0)
	gateway := local(t, s, metadataclient.Options{GatewayID: "g", HeartbeatInterval: time.Hour})
	if err := gateway.WaitRevision(within(t), 1); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		name := fmt.Sprintf("t%d", i)
		if _, err := admin.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		if gateway.View().Topics[name] == nil {
			t.Fatalf("the answer came before the gateway knew of %s", name)
		}
	}
}

func TestConfigNamesItsFaults(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.StoreKind = "paper" }, func(c *Config) { c.DataDir = "" }, func(c *Config) { c.FenceTimeout = 0 },
		func(c *Config) { c.AckTimeout = -1 }, func(c *Config) { c.NumPartitions = 0 }, func(c *Config) { c.DefaultReplicationFactor = 0 },
		func(c *Config) { c.MinInsyncReplicas = 2 }, func(c *Config) { c.CoordinatorShards = 0 }, func(c *Config) { c.BalanceInterval = -1 },
		func(c *Config) { c.MaxMoves = 0 },
	} {
		c := Default()
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%+v passed", c)
		}
	}
}
