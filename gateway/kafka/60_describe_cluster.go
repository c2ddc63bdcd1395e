package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster tells the cluster's id and brokers.
//
// Versions 0–2. Brokers are the gateways that live, and from version 2 on, if
// asked, those that fell silent. Controllers, which clients cannot reach, are refused with
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
	b := s.brokers()
	resp.ClusterID, resp.ControllerID = b.view.ClusterID, b.controller()
	for i := range b.live {
		resp.Brokers = append(resp.Brokers, described(b.live[i], false))
	}
	if !req.IncludeFencedBrokers {
		return resp
	}
	for _, id := range b.homes {
		if _, live := b.find(id); live {
			continue
		}
		if silent, ok := parseBroker(b.view.Gateways[id]); ok {
			resp.Brokers = append(resp.Brokers, described(silent, true))
		}
	}
	return resp
}

func described(b broker, fenced bool) kmsg.DescribeClusterResponseBroker {
	out := kmsg.NewDescribeClusterResponseBroker()
	out.NodeID, out.Host, out.Port, out.Rack, out.IsFenced = b.id, b.host, b.port, nullable(b.rack), fenced
	return out
}
