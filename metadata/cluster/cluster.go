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
	MaxPartitions    = 100_000 // of one topic
	MaxProducerIDs   = 100_000 // of one block
	NoLeader         = int32(-1)
	maxReplicaFactor = 1
)

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
	// Tombstones by topic id (invariant 17).
	Tombstones map[topicid.ID]*metadatav1.Tombstone
	// LastNodeEpoch is the highest epoch ever granted to any node; it never
	// goes back (invariant 16).
	LastNodeEpoch int64
	// NextProducerID is the first id of the next block; it never goes back.
	NextProducerID int64

	// collisions maps topicconfig.CollisionKey of each topic to its name.
	collisions map[string]string
}

// Delta tells what one Change touched; all lists are sorted.
type Delta struct {
	Topics      []string // new or changed
	NewTopic    bool     // Topics[0] did not exist before
	Deleted     []topicid.ID
	Forgotten   []topicid.ID
	Nodes       []int32
	ProducerIDs bool
	NodeEpochs  bool
}

// Empty tells whether nothing changed.
func (d Delta) Empty() bool {
	return len(d.Topics)+len(d.Deleted)+len(d.Forgotten)+len(d.Nodes) == 0 && !d.ProducerIDs && !d.NodeEpochs
}

// Change is one step of a cluster's life.
type Change interface {
	// apply changes s, a copy whose maps are still shared, and notes it in d.
	apply(s *State, d *Delta) error
}

// New returns an empty cluster.
func New(clusterID string) *State {
	return &State{
		ClusterID:    clusterID,
		Topics:       map[string]*metadatav1.TopicState{},
		Nodes:        map[int32]*metadatav1.NodeState{},
		Incarnations: map[int32]string{},
		Tombstones:   map[topicid.ID]*metadatav1.Tombstone{},
		collisions:   map[string]string{},
	}
}

// Restore returns s after its exported fields were filled from storage.
func (s *State) Restore() *State {
	s.collisions = make(map[string]string, len(s.Topics))
	for name := range s.Topics {
		s.collisions[topicconfig.CollisionKey(name)] = name
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
