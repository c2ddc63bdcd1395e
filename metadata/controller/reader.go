package controller

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// reader turns stored pairs into a state.
type reader struct {
	state   *cluster.State
	lineage *metadatav1.Lineage
	roots   map[string]root   // by topic key
	shards  map[string][]byte // sealed payload, by shard key
	orphans []string
}

type root struct {
	topic *metadatav1.TopicState
	count int
}

func read(pairs []store.Pair) (*reader, error) {
	r := &reader{state: cluster.New(""), lineage: &metadatav1.Lineage{}, roots: map[string]root{}, shards: map[string][]byte{}}
	for _, p := range pairs {
		_, extra, payload, err := store.Unseal(p.Key, p.Value)
		if err == nil {
			err = r.pair(p.Key, extra, payload)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.roots)) {
		if err := r.assemble(key); err != nil {
			return nil, err
		}
	}
	r.orphans = slices.Sorted(maps.Keys(r.shards)) // those that no root claimed
	r.state.Restore()
	return r, nil
}

func (r *reader) pair(key string, extra, payload []byte) error {
	parse := func(m proto.Message) error {
		if err := proto.Unmarshal(payload, m); err != nil {
			return &store.DamagedError{Key: key, Cause: err}
		}
		return nil
	}
	switch {
	case key == keyCluster:
		r.state.ClusterID = string(extra)
	case key == keyLineage:
		return parse(r.lineage)
	case key == keyNodeEpoch:
		return counter(key, extra, &r.state.LastNodeEpoch)
	case key == keyProducerID:
		return counter(key, extra, &r.state.NextProducerID)
	case key == keySettings:
		r.state.Settings = &metadatav1.ClusterSettings{}
		return parse(r.state.Settings)
	case key == keyShards:
		all := &metadatav1.ClusterState{}
		err := parse(all)
		r.state.Shards = all.Shards
		return err
	case strings.HasPrefix(key, prefixGateway):
		g := &metadatav1.GatewayState{}
		if err := parse(g); err != nil {
			return err
		}
		r.state.Gateways[g.BrokerId] = g
	case strings.HasPrefix(key, prefixCoord):
		c := &metadatav1.CoordinatorState{}
		if err := parse(c); err != nil {
			return err
		}
		r.state.Coordinators[c.CoordinatorId] = c
	case strings.HasPrefix(key, prefixNode):
		n := &metadatav1.NodeState{}
		if err := parse(n); err != nil {
			return err
		}
		r.state.Nodes[n.NodeId], r.state.Incarnations[n.NodeId] = n, string(extra)
	case strings.HasPrefix(key, prefixGrave):
		g := &metadatav1.Tombstone{}
		if err := parse(g); err != nil {
			return err
		}
		return keyed(key, g.TopicId, func(id topicid.ID) { r.state.Tombstones[id] = g })
	case strings.HasSuffix(key, "/root"):
		t := &metadatav1.TopicState{}
		if err := parse(t); err != nil {
			return err
		}
		n, width := binary.Uvarint(extra)
		if width <= 0 || n < 1 || n > cluster.MaxPartitions {
			return &store.DamagedError{Key: key, Cause: fmt.Errorf("impossible number of partitions")}
		}
		return keyed(key, t.TopicId, func(topicid.ID) { r.roots[strings.TrimSuffix(key, "root")] = root{t, int(n)} })
	case strings.HasPrefix(key, prefixTopic):
		r.shards[key] = payload
	default:
		return &store.DamagedError{Key: key, Cause: fmt.Errorf("this binary does not know such a key")}
	}
	return nil
}

func counter(key string, b []byte, n *int64) error {
	if len(b) != 8 {
		return &store.DamagedError{Key: key, Cause: fmt.Errorf("%d bytes are no counter", len(b))}
	}
	*n = int64(binary.BigEndian.Uint64(b))
	return nil
}

func keyed(key string, b []byte, keep func(topicid.ID)) error {
	id, err := topicid.FromBytes(b)
	if err != nil {
		return &store.DamagedError{Key: key, Cause: err}
	}
	keep(id)
	return nil
}

// assemble joins a root with its shards.
func (r *reader) assemble(key string) error {
	t, count := r.roots[key].topic, r.roots[key].count
	id := topicid.ID(t.TopicId)
	t.Partitions = make([]*metadatav1.PartitionState, 0, count)
	for n := range shardCount(count) {
		payload, there := r.shards[shardKey(id, n)]
		if !there {
			return &store.DamagedError{Key: shardKey(id, n), Cause: fmt.Errorf("shard of topic %q is missing", t.Name)}
		}
		part := &metadatav1.TopicState{}
		if err := proto.Unmarshal(payload, part); err != nil {
			return &store.DamagedError{Key: shardKey(id, n), Cause: err}
		}
		t.Partitions = append(t.Partitions, part.Partitions...)
		delete(r.shards, shardKey(id, n))
	}
	if len(t.Partitions) < count {
		return &store.DamagedError{Key: key, Cause: fmt.Errorf("%d partitions of %d are there", len(t.Partitions), count)}
	}
	t.Partitions = t.Partitions[:count:count] // more were written by a growth that never finished
	if twin := r.state.Topics[t.Name]; twin != nil {
		return &store.DamagedError{Key: key, Cause: fmt.Errorf("topic %q exists twice", t.Name)}
	}
	r.state.Topics[t.Name] = t
	return nil
}
