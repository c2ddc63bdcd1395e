package cluster

import (
	"slices"
	"testing"
	"time"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

const nodes = 3

// start starts a cluster of three storage nodes, with a topic of three replicas
// of which two must be in sync.
func start(t *testing.T, topic string, opts ...testcluster.Option) *testcluster.Cluster {
	t.Helper()
	return startWith(t, topic, 1, opts...)
}

func startWith(t *testing.T, topic string, partitions int32, opts ...testcluster.Option) *testcluster.Cluster {
	t.Helper()
	c := testcluster.StartShape(t, testcluster.Shape{Metadata: 1, StorageNodes: nodes, Coordinators: 1, Gateways: 1}, opts...)
	_, err := c.Topics(t).CreateTopic(testcluster.Context(t), &pb.CreateTopicRequest{
		Name: topic, PartitionCount: partitions, ReplicationFactor: nodes, Configs: map[string]string{"min.insync.replicas": "2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// partition is what metadata says of partition 0 of a topic.
func partition(t *testing.T, c *testcluster.Cluster, topic string) *pb.Partition {
	t.Helper()
	got, err := c.Topics(t).GetTopic(testcluster.Context(t), &pb.GetTopicRequest{Name: topic})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetTopic().GetPartitions()[0]
}

// awaitPartition waits until metadata says of partition 0 what is wanted.
func awaitPartition(t *testing.T, c *testcluster.Cluster, topic, what string, is func(*pb.Partition) bool) *pb.Partition {
	t.Helper()
	for testcluster.Context(t).Err() == nil {
		if p := partition(t, c, topic); is(p) {
			return p
		}
	}
	t.Fatalf("partition never came to be %s: %v", what, partition(t, c, topic))
	return nil
}

func allInSync(p *pb.Partition) bool { return len(p.GetInSyncReplicaIds()) == nodes }

func storageNode(id int32) testcluster.Member {
	return testcluster.Member{Role: "storage-node", ID: int(id)}
}

// TestLeadersComeAndGo: the leader is killed and started anew, then the next one
// is asked to stop and started anew. Another replica leads meanwhile; nothing
// that was acknowledged is lost or is there twice, and all come to be in sync
// again.
func TestLeadersComeAndGo(t *testing.T) {
	c := start(t, "river")
	w := write(t, c, "river")
	for _, way := range []struct {
		name string
		end  func(*testcluster.Process)
	}{
		{"killed", (*testcluster.Process).Kill},
		{"stopped", func(p *testcluster.Process) { p.Stop(t) }},
	} {
		w.flows(t)
		old, failed := partition(t, c, "river"), w.failed.Load()
		began := time.Now()
		way.end(c.Member(t, storageNode(old.GetLeaderId())))
		w.await(t, 2) // the second was sent after the end
		t.Logf("leader %s: the next acknowledgement came %v after the order", way.name, time.Since(began).Round(time.Millisecond))
		now := awaitPartition(t, c, "river", "led by another", func(p *pb.Partition) bool {
			return p.GetLeaderId() >= 0 && p.GetLeaderId() != old.GetLeaderId()
		})
		if slices.Contains(now.GetInSyncReplicaIds(), old.GetLeaderId()) || now.GetLeaderEpoch() <= old.GetLeaderEpoch() {
			t.Errorf("%s: after %v: %v", way.name, old, now)
		}
		w.flows(t)
		c.StartMember(t, storageNode(old.GetLeaderId()))
		awaitPartition(t, c, "river", "in sync on all", allInSync)
		w.flows(t)
		if n := w.failed.Load() - failed; way.name == "stopped" && n > 0 {
			t.Errorf("%d sends failed", n)
		}
	}
	w.verify(t, c)
	c.Stop(t)
}
