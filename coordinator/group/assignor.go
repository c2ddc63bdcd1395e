package group

import (
	"bytes"
	"slices"

	"moldau.dev/services/topicid"
)

// Names of the assignors, as members ask for them.
const (
	assignorUniform = "uniform"
	assignorRange   = "range"
)

// assignors by name. Each gives every partition of a topic that somebody
// subscribes to, to one of those who do.
var assignors = map[string]func(assignorSpec) []partitions{
	assignorUniform: assignUniformly,
	assignorRange:   assignRanges,
}

// assignorSpec is what is to be assigned.
type assignorSpec struct {
	members []assignorMember
	sizes   map[topicid.ID]int32 // partitions of each topic
}

// assignorMember is one member: what it subscribes to, sorted, and what it was
// given last.
type assignorMember struct {
	id, instance string
	topics       []topicid.ID
	current      partitions
}

func compareTopics(a, b topicid.ID) int { return bytes.Compare(a[:], b[:]) }

// sortedTopics are all topics that somebody subscribes to.
func (s *assignorSpec) sortedTopics() []topicid.ID {
	all := make([]topicid.ID, 0, len(s.sizes))
	for id := range s.sizes {
		all = append(all, id)
	}
	slices.SortFunc(all, compareTopics)
	return all
}

// sameTopics tells whether all members subscribe to the same.
func (s *assignorSpec) sameTopics() bool {
	for i := range s.members {
		if !slices.Equal(s.members[i].topics, s.members[0].topics) {
			return false
		}
	}
	return true
}
