package native

import (
	"cmp"
	"context"
	"slices"

	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/topicconfig"
)

// GetCluster shows the cluster and its nodes.
func (s *Server) GetCluster(ctx context.Context, req *moldauv1.GetClusterRequest) (*moldauv1.GetClusterResponse, error) {
	if err := s.reach(ctx, req.GetMinRevision()); err != nil {
		return nil, err
	}
	v := s.meta.View()
	resp := &moldauv1.GetClusterResponse{
		ClusterId: v.ClusterID, Version: s.version, Origin: &moldauv1.Origin{ClusterId: v.ClusterID, Revision: v.Revision},
	}
	for _, n := range showNodes(v) {
		resp.Nodes = append(resp.Nodes, n)
	}
	slices.SortFunc(resp.Nodes, func(a, b *moldauv1.Node) int { return cmp.Compare(a.Id, b.Id) })
	for name, t := range v.Topics {
		if !topicconfig.IsInternal(name) {
			resp.TopicCount++
		}
		for i := range t.Partitions {
			resp.PartitionCount++
			if v.Nodes[t.Partitions[i].Leader] == nil {
				resp.OfflinePartitionCount++
			}
		}
	}
	return resp, nil
}

// showNodes shows the nodes of a view, with what they carry.
func showNodes(v *metadataclient.View) map[int32]*moldauv1.Node {
	nodes := make(map[int32]*moldauv1.Node, len(v.Nodes))
	for id, n := range v.Nodes {
		state := moldauv1.NodeState_NODE_STATE_LIVE
		switch {
		case n.Fenced:
			state = moldauv1.NodeState_NODE_STATE_FENCED
		case n.Draining:
			state = moldauv1.NodeState_NODE_STATE_DRAINING
		}
		nodes[id] = &moldauv1.Node{Id: id, Address: n.Address, Rack: n.Rack, State: state, Evacuating: n.Evacuating}
	}
	for _, t := range v.Topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if leader := nodes[p.Leader]; leader != nil {
				leader.LeaderCount++
			}
			for _, r := range p.Replicas {
				if n := nodes[r]; n != nil {
					n.ReplicaCount++
					if !slices.Contains(p.ISR, r) {
						n.LaggingCount++
					}
				}
			}
		}
	}
	return nodes
}
