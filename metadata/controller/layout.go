package controller

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// The keys (C12):
//
//	cluster                 extra: the cluster's id
//	lineage                 payload: Lineage, written with every change
//	counter/node-epoch      extra: the last epoch granted, 8 bytes
//	counter/producer-id     extra: the first id of the next block, 8 bytes
//	node/<id>               extra: its incarnation; payload: NodeState
//	gateway/<id>            payload: GatewayState
//	coordinator/<id>        payload: CoordinatorState
//	shards                  payload: ClusterState with shards alone
//	settings                payload: ClusterSettings
//	topic/<id>/root         extra: number of partitions, varint; payload: TopicState without partitions
//	topic/<id>/shard/<n>    payload: TopicState with partitions [128n, 128n+128) alone
//	tombstone/<id>          payload: Tombstone
//
// A topic exists exactly while its root does, and has as many partitions as
// the root says. So shards can be written over several transactions, the root
// last, and nobody ever sees half a topic.
const (
	keyCluster    = "cluster"
	keyLineage    = "lineage"
	keyNodeEpoch  = "counter/node-epoch"
	keyProducerID = "counter/producer-id"
	keyShards     = "shards"
	keySettings   = "settings"
	prefixNode    = "node/"
	prefixGateway = "gateway/"
	prefixCoord   = "coordinator/"
	prefixTopic   = "topic/"
	prefixGrave   = "tombstone/"

	shardSize = 128
)

func idKey(prefix string, id int32) string { return fmt.Sprintf("%s%010d", prefix, id) }
func topicKey(id topicid.ID) string        { return prefixTopic + hex.EncodeToString(id[:]) + "/" }
func rootKey(id topicid.ID) string         { return topicKey(id) + "root" }
func graveKey(id topicid.ID) string        { return prefixGrave + hex.EncodeToString(id[:]) }
func shardKey(id topicid.ID, n int) string {
	return fmt.Sprintf("%sshard/%05d", topicKey(id), n)
}

func shardCount(partitions int) int { return (partitions + shardSize - 1) / shardSize }

func shardOf(partitions []*metadatav1.PartitionState, n int) []*metadatav1.PartitionState {
	begin := min(n*shardSize, len(partitions))
	return partitions[begin:min(begin+shardSize, len(partitions))]
}

// writer turns a change into transactions.
type writer struct {
	stamp store.Stamp
	index map[string]int64
	err   error
}

func (w *writer) put(key string, extra []byte, m proto.Message) store.Op {
	var payload []byte
	if m != nil {
		var err error
		if payload, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil && w.err == nil {
			w.err = fmt.Errorf("marshal %s: %w", key, err)
		}
	}
	return store.Op{Kind: store.CAS, Key: key, Value: store.Seal(key, w.stamp, extra, payload), Index: w.index[key]}
}

func (w *writer) remove(key string) store.Op {
	return store.Op{Kind: store.DeleteCAS, Key: key, Index: w.index[key]}
}

func (w *writer) putOrRemove(key string, extra []byte, m proto.Message, there bool) store.Op {
	if there {
		return w.put(key, extra, m)
	}
	return w.remove(key)
}

// shards returns the ops for what changed in the partitions of a topic.
func (w *writer) shards(old, next *metadatav1.TopicState) []store.Op {
	id := topicid.ID(next.TopicId)
	var before []*metadatav1.PartitionState
	if old != nil && topicid.ID(old.TopicId) == id {
		before = old.Partitions
	}
	var ops []store.Op
	for n := range shardCount(len(next.Partitions)) {
		if part := shardOf(next.Partitions, n); !slices.Equal(part, shardOf(before, n)) {
			ops = append(ops, w.put(shardKey(id, n), nil, &metadatav1.TopicState{Partitions: part}))
		}
	}
	return ops
}

// last returns the ops whose transaction is the moment of the change.
func (w *writer) last(old, next *cluster.State, d cluster.Delta) []store.Op {
	var ops []store.Op
	for _, name := range d.Topics {
		t, before := next.Topics[name], old.Topics[name]
		if before != nil && before.Version == t.Version {
			continue
		}
		root := &metadatav1.TopicState{Name: t.Name, TopicId: t.TopicId, Configs: t.Configs, CreateTimeMs: t.CreateTimeMs, Version: t.Version}
		count := binary.AppendUvarint(nil, uint64(len(t.Partitions)))
		ops = append(ops, w.put(rootKey(topicid.ID(t.TopicId)), count, root))
	}
	for _, id := range d.Deleted {
		ops = append(ops, w.put(graveKey(id), nil, next.Tombstones[id]), w.remove(rootKey(id)))
	}
	for _, id := range d.Forgotten {
		ops = append(ops, w.remove(graveKey(id)))
	}
	for _, id := range d.Nodes {
		ops = append(ops, w.putOrRemove(idKey(prefixNode, id), []byte(next.Incarnations[id]), next.Nodes[id], next.Nodes[id] != nil))
	}
	for _, id := range d.Gateways {
		ops = append(ops, w.putOrRemove(idKey(prefixGateway, id), nil, next.Gateways[id], next.Gateways[id] != nil))
	}
	for _, id := range d.Coordinators {
		ops = append(ops, w.putOrRemove(idKey(prefixCoord, id), nil, next.Coordinators[id], next.Coordinators[id] != nil))
	}
	if d.Shards {
		ops = append(ops, w.put(keyShards, nil, &metadatav1.ClusterState{Shards: next.Shards}))
	}
	if d.Settings {
		ops = append(ops, w.put(keySettings, nil, next.Settings))
	}
	if d.NodeEpochs {
		ops = append(ops, w.put(keyNodeEpoch, number(next.LastNodeEpoch), nil))
	}
	if d.ProducerIDs {
		ops = append(ops, w.put(keyProducerID, number(next.NextProducerID), nil))
	}
	return ops
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
