package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// edits changes partitions of a state that is being made; each topic is copied
// once.
type edits struct {
	s      *State
	d      *Delta
	copies map[string]*metadatav1.TopicState
	found  map[slot]bool
}

// slot names a partition.
type slot struct {
	topic string
	index int
}

func (s *State) edit(d *Delta) *edits {
	return &edits{s: s, d: d, copies: map[string]*metadatav1.TopicState{}, found: map[slot]bool{}}
}

// find returns a topic and one of its partitions, each once: a change makes at
// most one step of a partition.
func (e *edits) find(topic []byte, partition int32) (*metadatav1.TopicState, *metadatav1.PartitionState, error) {
	id, err := topicid.FromBytes(topic)
	if err != nil {
		return nil, nil, errcode.New(errcode.InvalidArgument, "%v", err).WithField("topic_id")
	}
	t := e.s.TopicByID(id)
	if t == nil {
		return nil, nil, errcode.New(errcode.UnknownTopicID, "no topic has id %s", id).WithField("topic_id")
	}
	if partition < 0 || int(partition) >= len(t.Partitions) {
		return nil, nil, errcode.New(errcode.UnknownPartition, "topic %q has %d partitions; %d is not one", t.Name, len(t.Partitions), partition).
			WithField("partition")
	}
	at := slot{t.Name, int(partition)}
	if e.found[at] {
		return nil, nil, errcode.New(errcode.InvalidArgument, "%s-%d is named twice", t.Name, partition).WithField("partition")
	}
	e.found[at] = true
	return t, t.Partitions[partition], nil
}

// settle brings a partition to its goal and returns it.
func (e *edits) settle(t *metadatav1.TopicState, partition int, g goal) *metadatav1.PartitionState {
	old := t.Partitions[partition]
	next := e.s.settle(old, t.Configs, g)
	if next != old {
		e.set(t, partition, next)
	}
	return next
}

// touch moves a partition's epoch and nothing else. A leader that asks for the
// in-sync replicas that there are asks for that: with the epoch goes whatever it
// asked before and had no answer to (R7).
func (e *edits) touch(t *metadatav1.TopicState, partition int) *metadatav1.PartitionState {
	next := copyPartition(t.Partitions[partition])
	next.PartitionEpoch++
	e.set(t, partition, next)
	return next
}

func (e *edits) set(t *metadatav1.TopicState, partition int, p *metadatav1.PartitionState) {
	ours := e.copies[t.Name]
	if ours == nil {
		ours = copyTopic(t)
		ours.Partitions = slices.Clone(t.Partitions)
		e.copies[t.Name] = ours
		e.s.putTopic(e.d, ours)
	}
	ours.Partitions[partition] = p
}

// settleAll brings every partition to the goal that f gives it, and in line
// with which nodes live.
func (s *State) settleAll(d *Delta, f func(t *metadatav1.TopicState, p *metadatav1.PartitionState) goal) {
	e := s.edit(d)
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		t := s.Topics[name]
		for i, p := range t.Partitions {
			e.settle(t, i, f(t, p))
		}
	}
}

// Settle brings every partition in line with which nodes live. Fencing
// and its like do so themselves; a new controller does it for a change that
// its predecessor left half written.
type Settle struct{}

func (Settle) apply(s *State, d *Delta) error {
	s.settleNodes(d)
	return nil
}

func (s *State) settleNodes(d *Delta) {
	s.settleAll(d, func(*metadatav1.TopicState, *metadatav1.PartitionState) goal { return goal{} })
}
