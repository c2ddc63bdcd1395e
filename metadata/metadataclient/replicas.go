package metadataclient

import (
	"context"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

func (c *client) AlterPartitions(ctx context.Context, req *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error) {
	return known(c.rpc.AlterPartitions(ctx, req))
}

func (c *client) ReportReplicas(ctx context.Context, req *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error) {
	return known(c.rpc.ReportReplicas(ctx, req))
}

func (c *client) ElectLeaders(ctx context.Context, req *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error) {
	return known(c.rpc.ElectLeaders(ctx, req))
}

func (c *client) AlterReassignments(ctx context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	return known(c.rpc.AlterReassignments(ctx, req))
}

func (c *client) DrainNode(ctx context.Context, req *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error) {
	return known(c.rpc.DrainNode(ctx, req))
}

func (c *client) RemoveNode(ctx context.Context, req *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error) {
	return known(c.rpc.RemoveNode(ctx, req))
}

func (c *client) Rebalance(ctx context.Context, req *metadatav1.RebalanceRequest) (*metadatav1.RebalanceResponse, error) {
	return known(c.rpc.Rebalance(ctx, req))
}

func (c *client) AlterClusterConfigs(ctx context.Context, req *metadatav1.AlterClusterConfigsRequest) (*metadatav1.AlterClusterConfigsResponse, error) {
	return known(c.rpc.AlterClusterConfigs(ctx, req))
}

func (c *client) UpdateFeatures(ctx context.Context, req *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error) {
	return known(c.rpc.UpdateFeatures(ctx, req))
}
