package storagenode

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

func TestSecondNodeOnOneDirectoryIsRefused(t *testing.T) {
	c := newCluster(t, newDisk())
	c.start()
	err := c.newNode().Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/data is in use by another storage node") {
		t.Fatalf("got %v", err)
	}
}

func TestDirectoryOfAnotherNodeOrClusterIsRefused(t *testing.T) {
	c := newCluster(t, newDisk())
	c.start()
	c.stop()
	c.edit = func(cfg *Config) { cfg.NodeID = 2 }
	if err := c.newNode().Start(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to node 1") {
		t.Fatalf("another node: %v", err)
	}
	c.edit = nil
	c.meta.change(func(v *metadataclient.View) { v.ClusterID = "other" })
	if err := c.newNode().Start(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to cluster cluster") {
		t.Fatalf("another cluster: %v", err)
	}
}

func TestOnlyACleanShutdownIsToldToTheController(t *testing.T) {
	c := newCluster(t, newDisk())
	c.start()
	c.stop()
	c.start()
	if last := c.meta.asked[1]; last.PreviousNodeEpoch != 1 || last.ClusterId != "cluster" {
		t.Fatalf("after a stop: %v", last)
	}
	c.kill()
	c.start()
	if last := c.meta.asked[2]; last.PreviousNodeEpoch != 0 || last.Incarnation == c.meta.asked[1].Incarnation {
		t.Fatalf("after a kill: %v", last)
	}
}

func TestDataGoesOnlyWithItsTombstone(t *testing.T) {
	c := newCluster(t, newDisk())
	old := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, old, batch(t, 2, "old"))
	dir := s.partitionDir(old)

	c.meta.remove("orders", false)
	s.reconcile()
	if !exists(t, c, dir) {
		t.Fatal("data went because metadata did not name it")
	}

	again := pid(c.meta.create("orders", 1, nil), 0)
	c.meta.change(func(v *metadataclient.View) { v.Deleted[old.Topic] = "orders" })
	s.reconcile()
	if exists(t, c, dir) {
		t.Fatal("a deleted topic's data is still there")
	}
	if r := fetchFrom(t, s, old, 0); !errcode.Is(r.Err, errcode.UnknownTopicID) {
		t.Fatalf("the old id: %v", r.Err)
	}
	if got := mustAppend(t, s, again, batch(t, 1, "new")); got != 0 {
		t.Fatalf("the new topic begins at %d", got)
	}
}

func TestTombstoneFoundAtTheNextStartDeletesToo(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, id, batch(t, 1, "x"))
	c.stop()
	c.meta.remove("orders", true)
	s = c.start()
	if exists(t, c, s.partitionDir(id)) {
		t.Fatal("the directory is still there")
	}
}

func exists(t *testing.T, c *cluster, dir string) bool {
	t.Helper()
	names, err := c.fs.List(path.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == path.Base(dir) {
			return true
		}
	}
	return false
}

func TestOlderLeaderEpochIsNotTaken(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 1, nil)
	s := c.start()
	c.meta.put(&metadataclient.Topic{ID: topic, Name: "orders", Partitions: []metadataclient.Partition{{Leader: 1, LeaderEpoch: 2, Replicas: []int32{1}, ISR: []int32{1}}}})
	s.reconcile()
	if got := s.partitions[pid(topic, 0)].role.Load().leaderEpoch; got != 3 {
		t.Fatalf("leader epoch went to %d", got)
	}
}

func TestPartitionsCostNoGoroutineAndNoFileBeforeTheirUse(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("wide", 10_000, nil)
	before := runtime.NumGoroutine()
	s := c.start()
	if n := len(s.snapshot()); n != 10_000 {
		t.Fatalf("%d partitions", n)
	}
	if n := runtime.NumGoroutine() - before; n > 10 {
		t.Fatalf("%d goroutines for idle partitions", n)
	}
	if names, err := c.fs.List("/data/partitions"); err != nil || len(names) != 0 {
		t.Fatalf("%d directories for idle partitions, %v", len(names), err)
	}
	mustAppend(t, s, pid(topic, 7777), batch(t, 1, "x"))
	if names, err := c.fs.List("/data/partitions"); err != nil || len(names) != 1 {
		t.Fatalf("directories %v, %v", names, err)
	}
}

func TestDirectoryNamesRoundTrip(t *testing.T) {
	s := &Service{cfg: Config{DataDir: "/d"}}
	for range 200 {
		id := storageclient.PartitionID{Topic: topicid.New(), Index: 12}
		if got, ok := parsePartitionDir(path.Base(s.partitionDir(id))); !ok || got != id {
			t.Fatalf("%v came back as %v", id, got)
		}
	}
	for _, bad := range []string{"", "x", "lost+found", fmt.Sprintf("%s--1", topicid.New())} {
		if _, ok := parsePartitionDir(bad); ok {
			t.Errorf("%q was taken for a partition", bad)
		}
	}
}
