package metadataclient

import (
	"context"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

func (c *client) AlterPartitions(ctx context.Context, req *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error) {
	return ask(ctx, c, hasty, metadatav1.MetadataServiceClient.AlterPartitions, req)
}

func (c *client) ReportReplicas(ctx context.Context, req *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error) {
	return ask(ctx, c, hasty, metadatav1.MetadataServiceClient.ReportReplicas, req)
}

func (c *client) ElectLeaders(ctx context.Context, req *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.ElectLeaders, req)
}

func (c *client) AlterReassignments(ctx context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.AlterReassignments, req)
}

func (c *client) DrainNode(ctx context.Context, req *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.DrainNode, req)
}

func (c *client) RemoveNode(ctx context.Context, req *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.RemoveNode, req)
}

func (c *client) Rebalance(ctx context.Context, req *metadatav1.RebalanceRequest) (*metadatav1.RebalanceResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.Rebalance, req)
}

func (c *client) AlterClusterConfigs(ctx context.Context, req *metadatav1.AlterClusterConfigsRequest) (*metadatav1.AlterClusterConfigsResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.AlterClusterConfigs, req)
}

func (c *client) UpdateFeatures(ctx context.Context, req *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error) {
	return ask(ctx, c, patient, metadatav1.MetadataServiceClient.UpdateFeatures, req)
}
