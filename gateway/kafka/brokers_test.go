package kafka

import (
	"slices"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

func gateways(all ...*metadataclient.Gateway) map[int32]*metadataclient.Gateway {
	m := map[int32]*metadataclient.Gateway{}
	for _, g := range all {
		g.KafkaAddress = "host:" + string('1'+rune(g.BrokerID))
		m[g.BrokerID] = g
	}
	return m
}

func nodes(ids ...int32) map[int32]*metadataclient.Node {
	m := map[int32]*metadataclient.Node{}
	for _, id := range ids {
		m[id] = &metadataclient.Node{ID: id}
	}
	return m
}

// wide is a topic whose partition i is led by leaders[i % len].
func wide(partitions int, leaders ...int32) *metadataclient.Topic {
	t := &metadataclient.Topic{ID: topicid.New()}
	for i := range partitions {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: leaders[i%len(leaders)]})
	}
	return t
}

func leaders(b *brokers, t *metadataclient.Topic) (out []int32) {
	for i := range t.Partitions {
		out = append(out, b.leader(t, int32(i)))
	}
	return out
}

func TestPartitionsAreFoundAtTheGatewayInTheLeadersProcess(t *testing.T) {
	view := &metadataclient.View{Nodes: nodes(11, 12, 13), Gateways: gateways(
		&metadataclient.Gateway{BrokerID: 1, LocalNodes: []int32{11}}, &metadataclient.Gateway{BrokerID: 2, LocalNodes: []int32{12, 13}})}
	got := leaders(newBrokers(view, broker{id: 1}), wide(4, 11, 12, 13))
	if want := []int32{1, 2, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("leaders %v, want %v", got, want)
	}
	view.Gateways[2].Fenced = true
	for _, id := range leaders(newBrokers(view, broker{id: 1}), wide(4, 11, 12, 13)) {
		if id != 1 {
			t.Errorf("leader %d, only 1 lives", id)
		}
	}
}

func TestGatewaysAndNodesWithTheSameIdsPairUp(t *testing.T) {
	view := &metadataclient.View{Nodes: nodes(1, 2, 3), Gateways: gateways(
		&metadataclient.Gateway{BrokerID: 1}, &metadataclient.Gateway{BrokerID: 2}, &metadataclient.Gateway{BrokerID: 3})}
	topic := wide(6, 3, 1, 2)
	if got := leaders(newBrokers(view, broker{id: 1}), topic); !slices.Equal(got, []int32{3, 1, 2, 3, 1, 2}) {
		t.Errorf("leaders %v", got)
	}
	view.Gateways[3].Fenced = true
	for i, id := range leaders(newBrokers(view, broker{id: 1}), topic) {
		if node := topic.Partitions[i].Leader; id == 3 || node != 3 && id != node {
			t.Errorf("partition %d, led by %d, is at %d", i, node, id)
		}
	}
}

func TestSharesAreEvenStableAndTheSameEverywhere(t *testing.T) {
	view := &metadataclient.View{Nodes: nodes(1), Gateways: gateways(&metadataclient.Gateway{BrokerID: 4}, &metadataclient.Gateway{BrokerID: 5},
		&metadataclient.Gateway{BrokerID: 6}, &metadataclient.Gateway{BrokerID: 7})}
	topic := wide(120, 1)
	before := leaders(newBrokers(view, broker{id: 4}), topic)
	count := map[int32]int{}
	for _, id := range before {
		count[id]++
	}
	for id, n := range count {
		if n != 30 {
			t.Errorf("broker %d has %d of 120 partitions", id, n)
		}
	}
	if others := leaders(newBrokers(view, broker{id: 6}), topic); !slices.Equal(before, others) {
		t.Error("two gateways tell different leaders")
	}
	view.Gateways[5].Fenced = true
	after := leaders(newBrokers(view, broker{id: 4}), topic)
	count = map[int32]int{}
	for i, id := range after {
		if before[i] != 5 && id != before[i] {
			t.Errorf("partition %d moved from %d to %d: nothing happened to %d", i, before[i], id, before[i])
		}
		count[id]++
	}
	for id, n := range count {
		if id == 5 || n != 40 {
			t.Errorf("broker %d has %d of 120 partitions", id, n)
		}
	}
}

func TestAGatewayThatNobodyHeardOfYetListsItself(t *testing.T) {
	b := newBrokers(&metadataclient.View{}, broker{id: 9})
	topic := wide(2, 1, -1)
	if got := leaders(b, topic); !slices.Equal(got, []int32{9, -1}) || b.controller() != 9 {
		t.Errorf("leaders %v, controller %d", got, b.controller())
	}
}
