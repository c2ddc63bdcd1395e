package controller

import (
	"cmp"
	"maps"
	"slices"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// Place assigns count new partitions of a topic to live nodes: round robin,
// beginning with the nodes that hold the fewest partitions of the topic, then
// of the cluster, then the lowest id. topic is nil for a new one. The same
// state gives the same answer.
func Place(s *cluster.State, topic *metadatav1.TopicState, count int) ([][]int32, error) {
	nodes := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Nodes)), func(id int32) bool { return !s.Live(id) })
	if len(nodes) == 0 {
		return nil, errcode.New(errcode.InvalidReplicationFactor, "no storage node is in service to hold a replica").
			WithField("replication_factor").WithHint("Start a storage node, or wait until one has recovered.")
	}
	all, own := map[int32]int{}, map[int32]int{}
	for _, t := range s.Topics {
		tally(all, t)
	}
	if topic != nil {
		tally(own, topic)
	}
	assignment := make([][]int32, 0, count)
	for len(assignment) < count {
		slices.SortFunc(nodes, func(a, b int32) int {
			return cmp.Or(cmp.Compare(own[a], own[b]), cmp.Compare(all[a], all[b]), cmp.Compare(a, b))
		})
		// One round gives each node at most one more than those behind it have.
		least := own[nodes[0]]
		for _, id := range nodes {
			if own[id] > least || len(assignment) == count {
				break
			}
			assignment = append(assignment, []int32{id})
			own[id]++
			all[id]++
		}
	}
	return assignment, nil
}

func tally(counts map[int32]int, t *metadatav1.TopicState) {
	for _, p := range t.Partitions {
		for _, id := range p.Replicas {
			counts[id]++
		}
	}
}
