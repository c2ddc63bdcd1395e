package txn

import (
	"bytes"
	"cmp"
	"slices"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// Partition names one partition of one incarnation of a topic.
type Partition struct {
	Topic topicid.ID
	Index int32
}

func comparePartitions(a, b Partition) int {
	return cmp.Or(bytes.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Index, b.Index))
}

// Participants are what a transaction writes to: all of it gets a marker. Both
// lists are sorted, without repetition, and never changed once made.
type Participants struct {
	Partitions []Partition
	// OffsetShards are the shards of groups whose offsets are in it (T13).
	OffsetShards []int32
}

// NewParticipants sorts what it is given, in place.
func NewParticipants(partitions []Partition, offsetShards []int32) Participants {
	slices.SortFunc(partitions, comparePartitions)
	slices.Sort(offsetShards)
	return Participants{slices.Compact(partitions), slices.Compact(offsetShards)}
}

// Len is how many there are.
func (p Participants) Len() int { return len(p.Partitions) + len(p.OffsetShards) }

func (p Participants) hasPartition(x Partition) bool {
	_, found := slices.BinarySearchFunc(p.Partitions, x, comparePartitions)
	return found
}

func (p Participants) hasShard(x int32) bool {
	_, found := slices.BinarySearch(p.OffsetShards, x)
	return found
}

// has tells whether all of other are in p.
func (p Participants) has(other Participants) bool {
	return !slices.ContainsFunc(other.Partitions, func(x Partition) bool { return !p.hasPartition(x) }) &&
		!slices.ContainsFunc(other.OffsetShards, func(x int32) bool { return !p.hasShard(x) })
}

func (p Participants) with(other Participants) Participants {
	return NewParticipants(slices.Concat(p.Partitions, other.Partitions), slices.Concat(p.OffsetShards, other.OffsetShards))
}

// verdict returns one that finds all is well.
func (p Participants) verdict(epoch int64) *Verdict {
	return &Verdict{make([]*errcode.Error, len(p.Partitions)), make([]*errcode.Error, len(p.OffsetShards)), epoch}
}
