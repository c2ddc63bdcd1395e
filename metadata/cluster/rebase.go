package cluster

import (
	"maps"
	"math"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	// RebaseStep is by how much Rebase raises epochs: more than any can have
	// grown since the snapshot that a store was set back to.
	RebaseStep = 1 << 20
	// rebaseIDs is the same for producer ids, which are handed out in blocks.
	rebaseIDs = 1 << 40
)

// Rebase raises every epoch and counter above what was granted after the state
// was saved, once an operator has accepted that it was set back (C11): so that
// nothing is granted twice (invariant 16), and no leader of what was lost still
// leads (invariant 7).
type Rebase struct{}

func (Rebase) apply(s *State, d *Delta) error {
	s.LastNodeEpoch += RebaseStep
	s.NextProducerID += rebaseIDs
	d.NodeEpochs, d.ProducerIDs = true, true
	if len(s.Shards) > 0 {
		s.Shards = slices.Clone(s.Shards)
		for i, shard := range s.Shards {
			s.Shards[i] = &metadatav1.ShardState{Owner: shard.Owner, Epoch: shard.Epoch + RebaseStep}
		}
		d.Shards = true
	}
	topics := maps.Clone(s.Topics)
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := copyTopic(topics[name])
		t.Partitions = slices.Clone(t.Partitions)
		for i, p := range t.Partitions {
			if p.LeaderEpoch > math.MaxInt32-RebaseStep || p.PartitionEpoch > math.MaxInt32-RebaseStep {
				return errcode.New(errcode.ResourceExhausted, "the epochs of partition %d of topic %q cannot be raised again", i, name)
			}
			p = copyPartition(p)
			p.LeaderEpoch += RebaseStep
			p.PartitionEpoch += RebaseStep
			t.Partitions[i] = p
		}
		topics[name] = t
		d.Topics = append(d.Topics, name)
	}
	s.Topics = topics
	return nil
}
