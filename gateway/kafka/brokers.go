package kafka

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net"
	"slices"
	"strconv"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// broker is a gateway as clients see it.
type broker struct {
	id   int32
	host string
	port int32
	rack string
}

// brokers are the gateways as clients see them, at one view, and what belongs
// to which of them. Any of them serves everything; the shares are there so
// that clients spread, and answers of all brokers add up to each thing once.
//
// Invariant: gateways with the same view give each partition, node and shard
// to the same broker.
type brokers struct {
	view  *metadataclient.View
	live  []broker        // by id; this gateway is always among them
	homes []int32         // ids of all, the silent ones included
	local map[int32]int32 // storage node → live gateway in its process
	pairs bool            // nodes and gateways have the same ids
}

// self is this gateway, before anyone else has heard of it too.
func (s *Server) self() broker {
	return broker{id: s.cfg.NodeID, host: s.host, port: s.port, rack: s.cfg.Rack}
}

// brokers returns the brokers of the present view.
func (s *Server) brokers() *brokers {
	view := s.meta.View()
	if b := s.seen.Load(); b != nil && b.view == view {
		return b
	}
	b := newBrokers(view, s.self())
	s.seen.Store(b)
	return b
}

func newBrokers(view *metadataclient.View, self broker) *brokers {
	b := &brokers{view: view, live: []broker{self}, homes: []int32{self.id}, local: map[int32]int32{}}
	for _, id := range slices.Sorted(maps.Keys(view.Gateways)) {
		g := view.Gateways[id]
		if !g.Fenced || id == self.id {
			for _, node := range g.LocalNodes {
				b.local[node] = id
			}
		}
		if id == self.id {
			continue
		}
		b.homes = append(b.homes, id)
		if other, ok := parseBroker(g); ok && !g.Fenced {
			b.live = append(b.live, other)
		}
	}
	slices.Sort(b.homes)
	slices.SortFunc(b.live, func(x, y broker) int { return cmp.Compare(x.id, y.id) })
	b.pairs = slices.Equal(b.homes, slices.Sorted(maps.Keys(view.Nodes)))
	return b
}

func parseBroker(g *metadataclient.Gateway) (broker, bool) {
	host, text, err := net.SplitHostPort(g.KafkaAddress)
	if err != nil {
		return broker{}, false
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return broker{id: g.BrokerID, host: host, port: int32(port), rack: g.Rack}, err == nil
}

// find returns the live broker of that id.
func (b *brokers) find(id int32) (broker, bool) {
	i, ok := slices.BinarySearchFunc(b.live, id, func(x broker, id int32) int { return cmp.Compare(x.id, id) })
	if !ok {
		return broker{}, false
	}
	return b.live[i], true
}

// controller is where clients send what changes the cluster. Any broker would
// do; all name the same.
func (b *brokers) controller() int32 { return b.live[0].id }

// leader returns the broker that clients find a partition at, or -1 where no
// node leads it: the gateway in the leader's process, or the one with the
// leader's id where there is one for each node, else a share by number.
func (b *brokers) leader(t *metadataclient.Topic, index int32) int32 {
	node := t.Partitions[index].Leader
	if node < 0 {
		return -1
	}
	if id, ok := b.beside(node); ok {
		return id
	}
	return b.share(spread(t.ID) + uint32(index))
}

// ofNode returns the broker that answers for what lies on a storage node.
func (b *brokers) ofNode(node int32) int32 {
	if id, ok := b.beside(node); ok {
		return id
	}
	return b.share(uint32(node))
}

// ofShard returns the broker that clients find the groups or transactions of a
// shard of the coordinators at.
func (b *brokers) ofShard(shard int32) int32 { return b.share(uint32(shard)) }

func (b *brokers) beside(node int32) (int32, bool) {
	if id, ok := b.local[node]; ok {
		return id, true
	}
	if !b.pairs {
		return 0, false
	}
	_, live := b.find(node)
	return node, live
}

// share spreads numbers over the brokers. Those of a broker that fell silent
// go to the others evenly, and nobody else's move.
func (b *brokers) share(n uint32) int32 {
	all := uint32(len(b.homes))
	if home, live := b.find(b.homes[n%all]); live {
		return home.id
	}
	return b.live[(n/all)%uint32(len(b.live))].id
}

// offline returns those of the nodes that are not in service.
func (b *brokers) offline(nodes []int32) (out []int32) {
	for _, node := range nodes {
		if n := b.view.Nodes[node]; n == nil || n.Fenced {
			out = append(out, node)
		}
	}
	return out
}

// spread makes a number of a topic's id, so that the first partitions of all
// topics are not all at one broker.
func spread(id topicid.ID) uint32 { return binary.BigEndian.Uint32(id[:4]) }
