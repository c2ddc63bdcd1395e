// Package cluster decides what a cluster may become: State + Change → State, or
// the reason why not. It is pure: no clock, no I/O, no goroutine, no global
// randomness, nothing that depends on the order of a map. Above it, controller
// chooses Changes and makes States durable.
//
// Invariant: a State never changes. Apply returns a new one that shares what
// did not change, so unchanged topics and nodes are the same pointers.
package cluster

import (
	"maps"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// Limits.
const (
	MaxPartitions  = 100_000 // of one topic
	MaxProducerIDs = 100_000 // of one block
	MaxShards      = 10_000  // of the coordinators
	NoLeader       = int32(-1)
	noOwner        = int32(-1) // of a shard
)

// Defaults are what holds where neither a request nor the cluster's settings
// say otherwise.
type Defaults struct {
	Partitions        int32 // num.partitions
	ReplicationFactor int32 // default.replication.factor
	MinInsyncReplicas int32 // min.insync.replicas
	Shards            int32 // offsets.topic.num.partitions, fixed by the first coordinator
}

// State is a whole cluster. Neither it nor anything that it holds may be
// changed by anyone but Apply, which changes copies.
type State struct {
	ClusterID string
	// Topics by name.
	Topics map[string]*metadatav1.TopicState
	// Nodes by id.
	Nodes map[int32]*metadatav1.NodeState
	// Incarnations of registered nodes, by node id: the random name of the
	// start that was granted the node's epoch (N1).
	Incarnations map[int32]string
	// Gateways by broker id.
	Gateways map[int32]*metadatav1.GatewayState
	// Coordinators by id.
	Coordinators map[int32]*metadatav1.CoordinatorState
	// Shards of the coordinators by index; none before the first coordinator.
	Shards []*metadatav1.ShardState
	// Settings and feature levels; never nil.
	Settings *metadatav1.ClusterSettings
	// Tombstones by topic id (invariant 17).
	Tombstones map[topicid.ID]*metadatav1.Tombstone
	// LastNodeEpoch is the highest epoch ever granted to any node or gateway; it
	// never goes back (invariant 16).
	LastNodeEpoch int64
	// NextProducerID is the first id of the next block; it never goes back.
	NextProducerID int64
	// Defaults are not part of the truth: each controller brings its own.
	Defaults Defaults

	// names of topics by id.
	names map[topicid.ID]string
	// collisions maps topicconfig.CollisionKey of each topic to its name.
	collisions map[string]string
}

// Delta tells what one Change touched. An id under Nodes, Gateways or
// Coordinators that the new state lacks was removed.
type Delta struct {
	Topics       []string // new or changed, each once
	Deleted      []topicid.ID
	Forgotten    []topicid.ID
	Nodes        []int32
	Gateways     []int32
	Coordinators []int32
	Shards       bool
	Settings     bool
	ProducerIDs  bool
	NodeEpochs   bool
}

// Empty tells whether nothing changed.
func (d Delta) Empty() bool {
	return len(d.Topics)+len(d.Deleted)+len(d.Forgotten)+len(d.Nodes)+len(d.Gateways)+len(d.Coordinators) == 0 &&
		!d.Shards && !d.Settings && !d.ProducerIDs && !d.NodeEpochs
}

// Change is one step of a cluster's life.
type Change interface {
	// apply changes s, a copy whose maps are still shared, and notes it in d.
	apply(s *State, d *Delta) error
}

// New returns an empty cluster, at the feature levels of a new one.
func New(clusterID string) *State {
	return &State{
		ClusterID:    clusterID,
		Topics:       map[string]*metadatav1.TopicState{},
		Nodes:        map[int32]*metadatav1.NodeState{},
		Incarnations: map[int32]string{},
		Gateways:     map[int32]*metadatav1.GatewayState{},
		Coordinators: map[int32]*metadatav1.CoordinatorState{},
		Settings:     &metadatav1.ClusterSettings{Features: newFeatures()},
		Tombstones:   map[topicid.ID]*metadatav1.Tombstone{},
		Defaults:     Defaults{Partitions: 1, ReplicationFactor: 1, MinInsyncReplicas: 1, Shards: 50},
		names:        map[topicid.ID]string{},
		collisions:   map[string]string{},
	}
}

// Restore returns s after its exported fields were filled from storage.
func (s *State) Restore() *State {
	s.collisions = make(map[string]string, len(s.Topics))
	s.names = make(map[topicid.ID]string, len(s.Topics))
	for name, t := range s.Topics {
		s.collisions[topicconfig.CollisionKey(name)] = name
		s.names[topicid.ID(t.TopicId)] = name
	}
	return s
}

// Apply returns the state after c. On an error, always an *errcode.Error, s
// stands. If nothing changed it returns s itself and an empty Delta.
func (s *State) Apply(c Change) (*State, Delta, error) {
	next, d := *s, Delta{}
	if err := c.apply(&next, &d); err != nil {
		return s, Delta{}, err
	}
	if d.Empty() {
		return s, d, nil
	}
	return &next, d, nil
}

// Live tells whether a node may lead and be in sync.
func (s *State) Live(node int32) bool {
	n := s.Nodes[node]
	return n != nil && !n.Fenced && !n.Draining
}

// TopicByID returns the topic of that incarnation, or nil.
func (s *State) TopicByID(id topicid.ID) *metadatav1.TopicState {
	if name, there := s.names[id]; there {
		return s.Topics[name]
	}
	return nil
}

func (s *State) putTopic(d *Delta, t *metadatav1.TopicState) {
	if len(d.Topics) == 0 {
		s.Topics = maps.Clone(s.Topics)
	}
	s.Topics[t.Name] = t
	d.Topics = append(d.Topics, t.Name)
}

func (s *State) putNode(d *Delta, n *metadatav1.NodeState) {
	s.Nodes = maps.Clone(s.Nodes)
	s.Nodes[n.NodeId] = n
	d.Nodes = append(d.Nodes, n.NodeId)
}

func (s *State) putGateway(d *Delta, g *metadatav1.GatewayState) {
	s.Gateways = maps.Clone(s.Gateways)
	s.Gateways[g.BrokerId] = g
	d.Gateways = append(d.Gateways, g.BrokerId)
}

func (s *State) putCoordinator(d *Delta, c *metadatav1.CoordinatorState) {
	s.Coordinators = maps.Clone(s.Coordinators)
	s.Coordinators[c.CoordinatorId] = c
	d.Coordinators = append(d.Coordinators, c.CoordinatorId)
}
