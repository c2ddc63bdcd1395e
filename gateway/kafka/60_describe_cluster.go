package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster tells the cluster's id and brokers.
//
// Versions 0–2. Controllers, which clients cannot reach, are refused with
// MISMATCHED_ENDPOINT_TYPE (KIP-919).
func describeClusterAPI() api {
	return api{
		key: 60, name: "DescribeCluster", max: 2, flexible: 0,
		shape: shape{always(aBool), since(1, anInt8), since(2, aBool)},
		serve: coded(describeCluster),
	}
}

const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

func describeCluster(c *conn, _ context.Context, req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	s := c.s
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterAuthorizedOperations, resp.EndpointType = notAsked, brokerEndpoints
	resp.ControllerID = -1
	switch {
	case req.Version >= 1 && req.EndpointType == controllerEndpoints:
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
		return resp
	case req.Version >= 1 && req.EndpointType != brokerEndpoints:
		resp.ErrorCode = kerr.UnsupportedEndpointType.Code
		return resp
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	resp.ClusterID, resp.ControllerID = s.meta.View().ClusterID, s.cfg.NodeID
	broker := kmsg.NewDescribeClusterResponseBroker()
	broker.NodeID, broker.Host, broker.Port = s.cfg.NodeID, s.host, s.port
	resp.Brokers = append(resp.Brokers, broker)
	return resp
}
