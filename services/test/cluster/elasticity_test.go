//go:build elasticity

package cluster

import (
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

const elasticPartitions = 6

// elastic is a cluster that nodes come to and go from, with a writer for each
// partition of one topic.
type elastic struct {
	*testcluster.Cluster
	t       *testing.T
	writers []*writer
}

// nodes are those that the cluster knows, by id.
func (e *elastic) nodes() map[int32]*pb.Node {
	e.t.Helper()
	got, err := pb.NewClusterServiceClient(e.Conn(e.t)).GetCluster(testcluster.Context(e.t), &pb.GetClusterRequest{})
	if err != nil {
		e.t.Fatal(err)
	}
	byID := map[int32]*pb.Node{}
	for _, n := range got.GetNodes() {
		byID[n.GetId()] = n
	}
	return byID
}

func (e *elastic) awaitNodes(what string, is func(map[int32]*pb.Node) bool) {
	e.t.Helper()
	for testcluster.Context(e.t).Err() == nil {
		if is(e.nodes()) {
			return
		}
	}
	e.t.Fatalf("nodes never came to be %s: %v", what, e.nodes())
}

// partitions are the topic's, as metadata has them.
func (e *elastic) partitions() []*pb.Partition {
	e.t.Helper()
	got, err := e.Topics(e.t).GetTopic(testcluster.Context(e.t), &pb.GetTopicRequest{Name: "river"})
	if err != nil {
		e.t.Fatal(err)
	}
	return got.GetTopic().GetPartitions()
}

// awaitSync returns once nothing moves and all replicas of the topic are in sync.
func (e *elastic) awaitSync() {
	e.t.Helper()
	for testcluster.Context(e.t).Err() == nil {
		settled := true
		for _, p := range e.partitions() {
			settled = settled && len(p.GetReplicaIds()) == nodes && len(p.GetInSyncReplicaIds()) == nodes
		}
		if settled {
			return
		}
	}
	e.t.Fatalf("replicas never came to be in sync: %v", e.partitions())
}

// step tells what was done, and requires that no send failed meanwhile and that
// all writers go on.
func (e *elastic) step(what string) {
	e.t.Helper()
	failed := int64(0)
	for _, w := range e.writers {
		failed += w.failed.Load()
	}
	if failed > 0 {
		e.t.Errorf("%s: %d sends failed", what, failed)
	}
	for _, w := range e.writers {
		w.flows(e.t)
	}
	e.t.Log(what)
}

// TestNodesComeAndGoUnderLoad: a fourth node is added and gets its share, the first
// is drained and removed, and those that stay are restarted one after the other,
// while a producer for each partition is at work. No send fails; all that was
// acknowledged is there; what was moved is the same, byte for byte, and is gone
// where it was.
func TestNodesComeAndGoUnderLoad(t *testing.T) {
	c := startWith(t, "river", elasticPartitions, testcluster.WithEnv("MOLDAU_METADATA_BALANCE_INTERVAL=0s"))
	e := &elastic{Cluster: c, t: t}
	ctx := testcluster.Context(t)
	for i := range int32(elasticPartitions) {
		e.writers = append(e.writers, writeTo(t, c, "river", i))
	}
	e.step("three nodes serve")

	added := int32(c.AddMember(t, "storage-node").ID)
	e.awaitNodes("four", func(n map[int32]*pb.Node) bool { return n[added].GetState() == pb.NodeState_NODE_STATE_LIVE })
	placement := pb.NewPlacementServiceClient(c.Conn(t))
	for e.nodes()[added].GetReplicaCount() < elasticPartitions/2 && ctx.Err() == nil {
		if _, err := placement.Rebalance(ctx, &pb.RebalanceRequest{}); err != nil {
			t.Fatal(err)
		}
		e.awaitSync()
	}
	e.step("the fourth node has its share")

	const leaves = 1
	admin := pb.NewNodeServiceClient(c.Conn(t))
	if _, err := admin.DrainNode(ctx, &pb.DrainNodeRequest{NodeId: leaves}); err != nil {
		t.Fatal(err)
	}
	e.awaitNodes("drained", func(n map[int32]*pb.Node) bool { return n[leaves].GetReplicaCount() == 0 })
	e.step("the first node is empty")
	for i := range int32(elasticPartitions) {
		for len(segments(t, c, "river", i, leaves, "partitions")) > 0 {
			if ctx.Err() != nil {
				t.Fatalf("node %d still has data of partition %d", leaves, i)
			}
		}
	}
	c.Member(t, storageNode(leaves)).Stop(t)
	e.awaitNodes("stopped", func(n map[int32]*pb.Node) bool { return n[leaves].GetState() == pb.NodeState_NODE_STATE_FENCED })
	if _, err := admin.RemoveNode(ctx, &pb.RemoveNodeRequest{NodeId: leaves}); err != nil {
		t.Fatal(err)
	}
	e.awaitNodes("three", func(n map[int32]*pb.Node) bool { return len(n) == nodes && n[leaves] == nil })
	e.step("the first node is removed")

	for id := range e.nodes() {
		c.Member(t, storageNode(id)).Stop(t)
		c.StartMember(t, storageNode(id))
		e.awaitSync()
	}
	e.step("all were restarted")

	for _, w := range e.writers {
		w.verify(t, c)
	}
	e.awaitSync()
	files := make([]map[int32][]string, elasticPartitions)
	for i, p := range e.partitions() {
		files[i] = map[int32][]string{}
		for _, id := range p.GetReplicaIds() {
			files[i][id] = segments(t, c, "river", int32(i), id, "partitions")
		}
	}
	for _, role := range []string{"gateway", "coordinator", "storage-node", "metadata"} {
		for _, m := range c.Members(role) {
			if p := c.Member(t, m); p.Running() { // one was removed
				p.Stop(t)
			}
		}
	}
	for _, f := range files {
		sameBytes(t, f)
	}
}
