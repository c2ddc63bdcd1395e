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
