package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// shardCount is how many shards a cluster without any gets.
func (s *State) shardCount() int32 {
	return min(max(s.setting(offsetsPartitions, s.Defaults.Shards), 1), MaxShards)
}

// assignShards gives the shards of coordinators that are out of service to
// those that own least, and moves at most moves others so that none owns more
// than one above another. A shard's epoch grows with each change of owner, and
// where its owner was started anew.
func (s *State) assignShards(d *Delta, moves int, anew func(owner int32) bool) {
	owned := map[int32]int{}
	for id, c := range s.Coordinators {
		if !c.Fenced {
			owned[id] = 0
		}
	}
	live := slices.Sorted(maps.Keys(owned))
	owners := make([]int32, len(s.Shards))
	for i, shard := range s.Shards {
		owners[i] = noOwner
		if _, alive := owned[shard.Owner]; alive {
			owners[i] = shard.Owner
			owned[shard.Owner]++
		}
	}
	least := func() int32 { return slices.MinFunc(live, func(a, b int32) int { return owned[a] - owned[b] }) }
	most := func() int32 { return slices.MaxFunc(live, func(a, b int32) int { return owned[a] - owned[b] }) }
	for i := range owners {
		if owners[i] == noOwner && len(live) > 0 {
			owners[i] = least()
			owned[owners[i]]++
		}
	}
	for ; moves > 0 && len(live) > 0; moves-- {
		from, to := most(), least()
		if owned[from]-owned[to] < 2 {
			break
		}
		owners[slices.Index(owners, from)] = to
		owned[from]--
		owned[to]++
	}
	s.putShards(d, owners, anew)
}

func (s *State) putShards(d *Delta, owners []int32, anew func(owner int32) bool) {
	shards := slices.Clone(s.Shards)
	for i, old := range shards {
		if owners[i] != old.Owner || anew(old.Owner) {
			shards[i] = &metadatav1.ShardState{Owner: owners[i], Epoch: old.Epoch + 1}
			d.Shards = true
		}
	}
	if d.Shards {
		s.Shards = shards
	}
}
