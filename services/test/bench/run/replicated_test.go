//go:build bench

package run

import (
	"errors"
	"fmt"
	"testing"
	"time"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/moldau/bench"
	"moldau.dev/services/test/testcluster"
)

var replicatedSides = []string{threeNodes, manyProcesses}

// replicatedLoads are what is measured on three storage nodes.
var replicatedLoads = []load{
	{"produce", bench.ViaBatches, "relaxed", 1, 1, 3, false},
	{"produce", bench.ViaBatches, "relaxed", 12, 1, 3, false},
	{"produce", bench.ViaBatches, "relaxed", 1, 1, 3, true},
	{"produce", bench.ViaBatches, "relaxed", 1000, 1, 3, true},
	{"produce", bench.ViaBatches, "durable", 1, 1, 3, false},
	{"produce", bench.ViaBatches, "durable", 12, 1, 3, false},
	{"produce", bench.ViaClient, "relaxed", 12, 1, 3, false},
	{"consume", bench.ViaBatches, "relaxed", 12, 1, 3, false},
	{"latency", bench.ViaRecords, "relaxed", 12, 1, 3, false},
	{"latency", bench.ViaRecords, "durable", 12, 1, 3, false},
}

// replicated starts three storage nodes: in one process, or in processes of their
// own beside a metadata, a coordinator and a gateway.
func replicated(t *testing.T, side string) *testcluster.Cluster {
	t.Helper()
	inSync := testcluster.WithEnv("MOLDAU_METADATA_DEFAULT_REPLICATION_FACTOR=3", "MOLDAU_METADATA_MIN_INSYNC_REPLICAS=2")
	if side == threeNodes {
		return testcluster.Start(t, testcluster.WithNodes(3), inSync)
	}
	return testcluster.StartShape(t, testcluster.Shape{Metadata: 1, StorageNodes: 3, Coordinators: 1, Gateways: 1}, inSync)
}

// TestReplicated: three replicas, acknowledged by all in sync.
func TestReplicated(t *testing.T) {
	clusters := map[string]*testcluster.Cluster{}
	for _, side := range replicatedSides {
		clusters[side] = replicated(t, side)
	}
	inTurns(t, clusters, replicatedLoads, replicatedSides)
}

// TestFailover measures how long nothing is acknowledged when the process of a
// partition's leader is killed, and how soon the first record is when it is back.
func TestFailover(t *testing.T) {
	clk := clock.Real()
	c := replicated(t, manyProcesses)
	if _, err := c.Topics(t).CreateTopic(testcluster.Context(t), &pb.CreateTopicRequest{Name: "first", PartitionCount: 1, ReplicationFactor: 3}); err != nil {
		t.Fatal(err)
	}
	var gaps []float64
	for range rounds(t) {
		eventually(t, c)
		topic, err := c.Topics(t).GetTopic(testcluster.Context(t), &pb.GetTopicRequest{Name: "first"})
		if err != nil {
			t.Fatal(err)
		}
		leader := testcluster.Member{Role: "storage-node", ID: int(topic.GetTopic().GetPartitions()[0].GetLeaderId())}
		p := c.Member(t, leader)
		begin := clk.Now()
		p.Kill()
		eventually(t, c)
		gaps = append(gaps, millis(clk.Since(begin)))
		c.StartMember(t, leader)
		eventually(t, c)
	}
	fmt.Printf("\nkill -9 of a leader to the next acknowledgement: %s ms\n", spreadOf(gaps))
}

// eventually produces a record, again until it is acknowledged.
func eventually(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	ctx := testcluster.Context(t)
	for {
		resp, err := c.Produce(t).Produce(ctx, &pb.ProduceRequest{Topic: "first", Records: []*pb.Record{{Value: []byte("x")}}})
		switch {
		case err == nil && resp.GetResults()[0].GetError() == nil:
			return
		case ctx.Err() != nil:
			t.Fatal(errors.Join(err, ctx.Err()))
		}
		<-clock.Real().NewTimer(10 * time.Millisecond).C()
	}
}
