package testcluster

import (
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
)

func TestMain(m *testing.M) { Main(m) }

func TestClusterKeepsItsDataThroughKillAndStop(t *testing.T) {
	c := Start(t)
	c.CreateTopic(t, "kept", 1, nil)
	for _, end := range []func(){c.Kill, func() { c.Stop(t) }} {
		end()
		c.Restart(t)
		got, err := c.Topics(t).GetTopic(Context(t), &pb.GetTopicRequest{Name: "kept"})
		if err != nil || got.Topic.GetName() != "kept" {
			t.Fatalf("after the restart: %v, %v", got, err)
		}
	}
}

// TestRolesFindEachOtherWhereverTheyListen starts each role on a port that the
// kernel chooses, and one of them anew on another.
func TestRolesFindEachOtherWhereverTheyListen(t *testing.T) {
	c := StartSplit(t)
	c.CreateTopic(t, "river", 1, nil)
	produce := func(value string) {
		t.Helper()
		if _, err := c.Produce(t).Produce(Context(t), &pb.ProduceRequest{Topic: "river", Records: []*pb.Record{{Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	produce("before")
	c.RestartRole(t, "storage-node")
	produce("after")
	resp, err := c.Read(t).Fetch(Context(t), &pb.FetchRequest{Topic: "river"})
	if err != nil || len(resp.GetRecords()) != 2 {
		t.Fatalf("records %v, %v, want the one before and the one after", resp.GetRecords(), err)
	}
	c.Stop(t)
}
