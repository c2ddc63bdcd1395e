package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// segments are the files of batches of a partition on one node; where is
// "partitions" or "quarantine".
func segments(t *testing.T, c *testcluster.Cluster, topic string, partition, node int32, where string) []string {
	t.Helper()
	got, err := c.Topics(t).GetTopic(testcluster.Context(t), &pb.GetTopicRequest{Name: topic})
	if err != nil {
		t.Fatal(err)
	}
	pattern := filepath.Join(c.DataDir(), fmt.Sprintf("storage-node-%d", node), where, got.GetTopic().GetTopicId()+fmt.Sprintf("-%d*", partition), "*.log")
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// spoil changes one byte of a record in a replica's first segment.
func spoil(t *testing.T, c *testcluster.Cluster, topic string, node int32) {
	t.Helper()
	f, err := os.OpenFile(segments(t, c, topic, 0, node, "partitions")[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	const inFirstRecord = 64
	if _, err := f.ReadAt(b[:], inFirstRecord); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], inFirstRecord); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedReplicasHeal: a byte of a follower's and then of the leader's segment
// is changed under a producer at work. Each is found by the node's own look, leaves
// service, goes to quarantine and is copied anew; all that was acknowledged is
// there, on every replica (N6, invariant 13).
func TestDamagedReplicasHeal(t *testing.T) {
	c := start(t, "river", testcluster.WithEnv("MOLDAU_STORAGE_NODE_REPLICATION_SCRUB_INTERVAL=500ms"))
	w := write(t, c, "river")
	w.flows(t)
	for _, what := range []string{"follower", "leader"} {
		now := awaitPartition(t, c, "river", "in sync on all", allInSync)
		node := now.GetLeaderId()
		if what == "follower" {
			node = node%nodes + 1
		}
		spoil(t, c, "river", node)
		after := awaitPartition(t, c, "river", "in sync on all in another leader epoch", func(p *pb.Partition) bool {
			return p.GetLeaderEpoch() > now.GetLeaderEpoch() && allInSync(p) && len(segments(t, c, "river", 0, node, "quarantine")) > 0
		})
		if after.GetLeaderId() == node && what == "leader" {
			t.Errorf("the damaged leader leads on: %v", after)
		}
		w.flows(t)
	}
	t.Logf("%d sends failed and were sent again", w.failed.Load())
	w.verify(t, c)
	awaitPartition(t, c, "river", "in sync on all", allInSync)
	files := map[int32][]string{}
	for node := range int32(nodes) {
		files[node+1] = segments(t, c, "river", 0, node+1, "partitions")
	}
	c.Stop(t)
	sameBytes(t, files)
}

// sameBytes holds replicas' segments, by node, against each other.
func sameBytes(t *testing.T, files map[int32][]string) {
	t.Helper()
	var first int32
	var want []byte
	for _, node := range slices.Sorted(maps.Keys(files)) {
		var got []byte
		for _, file := range files[node] {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
		}
		switch {
		case want == nil:
			first, want = node, got
		case !bytes.Equal(got, want):
			t.Errorf("node %d holds %d bytes, node %d %d; they differ", node, len(got), first, len(want))
		}
	}
	if len(want) == 0 {
		t.Error("no batches were compared")
	}
}
