package gatewaytest

import (
	"context"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

func unwritten(call string) error {
	return errcode.New(errcode.Unimplemented, "this metadata has no %s", call)
}

// AlterPartitions implements metadataclient.Client.
func (m *Metadata) AlterPartitions(context.Context, *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error) {
	return nil, unwritten("AlterPartitions")
}

// ReportReplicas implements metadataclient.Client.
func (m *Metadata) ReportReplicas(context.Context, *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error) {
	return nil, unwritten("ReportReplicas")
}

// ElectLeaders implements metadataclient.Client.
func (m *Metadata) ElectLeaders(context.Context, *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error) {
	return nil, unwritten("ElectLeaders")
}

// AlterReassignments implements metadataclient.Client.
func (m *Metadata) AlterReassignments(context.Context, *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error) {
	return nil, unwritten("AlterReassignments")
}

// DrainNode implements metadataclient.Client.
func (m *Metadata) DrainNode(context.Context, *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error) {
	return nil, unwritten("DrainNode")
}

// RemoveNode implements metadataclient.Client.
func (m *Metadata) RemoveNode(context.Context, *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error) {
	return nil, unwritten("RemoveNode")
}

// Rebalance implements metadataclient.Client.
func (m *Metadata) Rebalance(context.Context, *metadatav1.RebalanceRequest) (*metadatav1.RebalanceResponse, error) {
	return nil, unwritten("Rebalance")
}

// AlterClusterConfigs implements metadataclient.Client.
func (m *Metadata) AlterClusterConfigs(context.Context, *metadatav1.AlterClusterConfigsRequest) (*metadatav1.AlterClusterConfigsResponse, error) {
	return nil, unwritten("AlterClusterConfigs")
}

// UpdateFeatures implements metadataclient.Client.
func (m *Metadata) UpdateFeatures(context.Context, *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error) {
	return nil, unwritten("UpdateFeatures")
}
