package simulator

import (
	"fmt"
	"slices"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/replication"
)

// image is all that metadata holds, at one revision. It never changes; apply
// makes another.
type image struct {
	revision int64
	state    *cluster.State
	parts    []*metadatav1.PartitionState // of the one topic
	view     *metadataclient.View         // as coordinators see it; made when it is needed
}

const topicName = "t"

var topicID = topicid.ID{1}

func imageOf(s *cluster.State) *image { return &image{state: s, parts: s.Topics[topicName].Partitions} }

// apply returns the image after a change, or i itself where nothing changed.
func (i *image) apply(c cluster.Change) (*image, error) {
	next, _, err := i.state.Apply(c)
	if err != nil || next == i.state {
		return i, err
	}
	return imageOf(next), nil
}

// live tells whether a node may lead and be in sync.
func (i *image) live(node int32) bool { return i.state.Live(node) }

// genesis is a cluster whose nodes were all there when its topic was created,
// and then stopped.
func genesis(nodes int, assignment [][]int32, minISR int, durable bool) *image {
	s := cluster.New("simulator")
	must := func(c cluster.Change) {
		next, _, err := s.Apply(c)
		if err != nil {
			panic(fmt.Sprintf("genesis: %T: %v", c, err))
		}
		s = next
	}
	configs := map[string]string{"min.insync.replicas": fmt.Sprint(minISR)}
	if !durable {
		configs["moldau.durability"] = "relaxed"
	}
	for n := range int32(nodes) {
		must(cluster.RegisterNode{NodeID: n, Incarnation: "genesis", Address: fmt.Sprintf("node-%d:1", n)})
		must(cluster.UnfenceNode{NodeID: n})
	}
	must(cluster.CreateTopic{Name: topicName, ID: topicID, Assignment: assignment, Configs: configs})
	for n := range int32(nodes) {
		must(cluster.FenceNode{NodeID: n})
	}
	return imageOf(s)
}

// alter is a leader's proposal, as it asks the controller (R9).
func alter(part int, node int32, nodeEpoch int64, q replication.Propose) *cluster.AlterPartitions {
	ask := &metadatav1.AlterPartition{
		TopicId: topicID[:], Partition: int32(part), LeaderEpoch: q.LeaderEpoch, PartitionEpoch: q.PartitionEpoch, Recovering: q.Recovering,
	}
	for _, m := range q.ISR {
		ask.Isr = append(ask.Isr, &metadatav1.InSyncReplica{NodeId: m.Node, NodeEpoch: m.NodeEpoch})
	}
	return &cluster.AlterPartitions{NodeID: node, NodeEpoch: nodeEpoch, Partitions: []*metadatav1.AlterPartition{ask}}
}

// altered is the answer to it.
type altered struct {
	reason errcode.Reason
	part   *replication.Partition
}

// seen is what a replica's node sees of a partition.
func (i *image) seen(part int) replication.Partition { return i.shown(i.parts[part]) }

func (i *image) shown(p *metadatav1.PartitionState) replication.Partition {
	out := replication.Partition{
		LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: slices.Clone(p.Isr),
		MinISR: int(p.MinInsyncReplicas), Recovering: p.Recovering,
		Durable: i.state.Topics[topicName].Configs["moldau.durability"] != "relaxed",
	}
	for _, r := range p.Replicas {
		out.Replicas = append(out.Replicas, replication.Replica{Node: r, NodeEpoch: i.state.Nodes[r].NodeEpoch, Live: i.live(r)})
	}
	return out
}

func without(list []int32, node int32) []int32 {
	return slices.DeleteFunc(slices.Clone(list), func(n int32) bool { return n == node })
}
