package storagenode

import (
	"slices"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/record"
	"moldau.dev/services/topicconfig"
	"moldau.dev/storage-node/replication"
)

// role is a partition's part in the cluster, as of one view. It never changes.
type role struct {
	topic       string
	leader      int32
	leaderEpoch int32
	// state is what the view says of the partition, for the replica's core.
	state      replication.Partition
	nodes      map[int32]*metadataclient.Node
	config     topicconfig.Config
	journal    bool         // of a shard of the coordinators
	codec      record.Codec // that the topic demands, where recompress
	recompress bool
	counters   topicCounters
}

// noLeader is the leader of a partition that has none.
const noLeader = -1

// tenure names who leads since when, in which of the node's own incarnations, and
// whether the node has a replica: a replica's core is of one.
type tenure struct {
	leader      int32
	leaderEpoch int32
	nodeEpoch   int64
	member      bool
}

// tenure that metadata last said.
func (p *partition) tenure() tenure {
	r := p.role.Load()
	return tenure{r.leader, r.leaderEpoch, p.node.nodeEpoch.Load(), r.holds(p.node.cfg.NodeID)}
}

func newRole(t *metadataclient.Topic, index int32, cfg topicconfig.Config, counters topicCounters, nodes map[int32]*metadataclient.Node) *role {
	p := &t.Partitions[index]
	r := &role{
		topic: t.Name, leader: p.Leader, leaderEpoch: p.LeaderEpoch, state: stateOf(p, &cfg, nodes), nodes: nodes,
		config: cfg, counters: counters, journal: isJournal(t.Name),
	}
	if cfg.CompressionType != "producer" {
		codec, err := record.ParseCodec(cfg.CompressionType)
		r.codec, r.recompress = codec, err == nil
	}
	return r
}

// stateOf tells a core what metadata says of a partition.
func stateOf(p *metadataclient.Partition, cfg *topicconfig.Config, nodes map[int32]*metadataclient.Node) replication.Partition {
	s := replication.Partition{
		LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: p.ISR, MinISR: int(p.MinISR),
		Recovering: p.Recovering, Durable: cfg.Durable,
	}
	if s.MinISR == 0 { // of a controller that does not say it
		s.MinISR = min(int(cfg.MinInsyncReplicas), len(p.Replicas))
	}
	for _, id := range p.Replicas {
		r := replication.Replica{Node: id}
		if n := nodes[id]; n != nil {
			r.NodeEpoch, r.Live = n.Epoch, !n.Fenced && !n.Draining
		}
		s.Replicas = append(s.Replicas, r)
	}
	return s
}

// holds tells whether a node has a replica.
func (r *role) holds(node int32) bool {
	return slices.ContainsFunc(r.state.Replicas, func(o replication.Replica) bool { return o.Node == node })
}

// replicated tells whether there is more than one replica.
func (r *role) replicated() bool { return len(r.state.Replicas) > 1 }

// gone tells whether a node can no longer answer as a leader in an incarnation:
// it was started anew, or is fenced for its silence and so has lost its lease
// (R12). One that shuts down may be fenced while it still answers.
func (r *role) gone(node int32, epoch int64) bool {
	n := r.nodes[node]
	return n == nil || n.Epoch != epoch || n.Fenced && !n.Draining
}

// epochOf is the epoch of a node, 0 where there is none.
func (r *role) epochOf(node int32) int64 {
	if n := r.nodes[node]; n != nil {
		return n.Epoch
	}
	return 0
}
