package kafka_test

import (
	"net"
	"reflect"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway"
)

func metadataAt(t *testing.T, s *gateway.Service) *kmsg.MetadataResponse {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 13
	return askAt[*kmsg.MetadataResponse](t, s, req)
}

// leadersOf counts the partitions of each leader.
func leadersOf(m *kmsg.MetadataResponse) map[int32]int {
	n := map[int32]int{}
	for _, topic := range m.Topics {
		for _, p := range topic.Partitions {
			n[p.Leader]++
		}
	}
	return n
}

func TestTrap2BrokersAreTheGatewaysThatLive(t *testing.T) {
	f := newFakes(t)
	f.topic("t", 8)
	a := f.gateway(4, func(c *gateway.Config, _ *gateway.Deps) { c.Rack = "east" })
	b := f.gateway(5)
	f.awaitGateways(2)
	fromA, fromB := metadataAt(t, a), metadataAt(t, b)
	if !reflect.DeepEqual(fromA, fromB) {
		t.Errorf("gateways tell different things:\n%+v\n%+v", fromA, fromB)
	}
	if len(fromA.Brokers) != 2 || fromA.Brokers[0].NodeID != 4 || *fromA.Brokers[0].Rack != "east" || fromA.ControllerID != 4 {
		t.Errorf("brokers %+v, controller %d", fromA.Brokers, fromA.ControllerID)
	}
	for _, x := range fromA.Brokers {
		if addr := net.JoinHostPort(x.Host, strconv.Itoa(int(x.Port))); addr != map[int32]string{4: a.KafkaAddr(), 5: b.KafkaAddr()}[x.NodeID] {
			t.Errorf("broker %d is said to be at %s", x.NodeID, addr)
		}
	}
	if n := leadersOf(fromA); n[4] != 4 || n[5] != 4 {
		t.Errorf("partitions by leader: %v", n)
	}
	check(t, a.Stop(t.Context()))
	f.awaitGateways(1)
	left := metadataAt(t, b)
	if n := leadersOf(left); len(left.Brokers) != 1 || n[5] != 8 || left.ControllerID != 5 {
		t.Errorf("after broker 4 left: brokers %+v, partitions %v, controller %d", left.Brokers, n, left.ControllerID)
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version, req.EndpointType, req.IncludeFencedBrokers = 2, 1, true
	if got := askAt[*kmsg.DescribeClusterResponse](t, b, req).Brokers; len(got) != 2 || got[0].NodeID != 5 || got[0].IsFenced || got[1].NodeID != 4 || !got[1].IsFenced {
		t.Errorf("with those that left: %+v", got)
	}
}

func TestRule14TheGatewayBesideTheLeaderIsTheLeader(t *testing.T) {
	f := newFakes(t)
	f.topic("t", 8)
	a := f.gateway(4)
	f.gateway(5, func(_ *gateway.Config, d *gateway.Deps) { d.LocalNodes = []int32{1} })
	f.awaitGateways(2)
	if n := leadersOf(metadataAt(t, a)); n[5] != 8 {
		t.Errorf("partitions by leader: %v, node 1 is in the process of gateway 5", n)
	}
}

func TestTrap1LogDirsOfAllBrokersAddUpToEachNodeOnce(t *testing.T) {
	f := newFakes(t)
	a, b := f.gateway(4), f.gateway(5)
	f.awaitGateways(2)
	seen := 0
	for _, s := range []*gateway.Service{a, b} {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = 4
		seen += len(askAt[*kmsg.DescribeLogDirsResponse](t, s, req).Dirs)
	}
	if seen != 1 {
		t.Errorf("the one node is shown %d times", seen)
	}
}
