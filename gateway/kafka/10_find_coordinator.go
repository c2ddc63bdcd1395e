package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/coordinator/coordinatorclient"
)

// FindCoordinator tells which broker groups and transactional ids are at: the
// gateway that has the share of their shard. Any gateway would serve them.
//
// Versions 0–6; many keys in one request from version 4 on (KIP-699). Share
// groups are INVALID_REQUEST, as where Kafka has them switched off.
func findCoordinatorAPI() api {
	return api{
		key: 10, name: "FindCoordinator", max: 6, flexible: 3,
		shape: shape{between(0, 3, aString), since(1, anInt8), list(aString).from(4)},
		serve: coded(findCoordinator),
	}
}

const (
	groupCoordinator       = 0
	transactionCoordinator = 1
)

func findCoordinator(c *conn, _ context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if req.Version >= 4 {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, c.s.coordinatorOf(req.CoordinatorType, key))
		}
		return resp
	}
	one := c.s.coordinatorOf(req.CoordinatorType, req.CoordinatorKey)
	resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = one.ErrorCode, one.ErrorMessage, one.NodeID, one.Host, one.Port
	return resp
}

func (s *Server) coordinatorOf(kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, -1, -1
	if kind != groupCoordinator && kind != transactionCoordinator {
		out.ErrorCode, out.ErrorMessage = kerr.InvalidRequest.Code, kmsg.StringPtr("no such kind of coordinator")
		return out
	}
	b := s.brokers()
	shards := b.view.Shards
	if s.coordinators == nil || len(shards) == 0 {
		out.ErrorCode, out.ErrorMessage = kerr.CoordinatorNotAvailable.Code, kmsg.StringPtr("the cluster has no coordinator yet")
		return out
	}
	shard := coordinatorclient.ShardOf(key, len(shards))
	if shards[shard].Owner < 0 {
		out.ErrorCode, out.ErrorMessage = kerr.CoordinatorNotAvailable.Code, kmsg.StringPtr("no coordinator owns the shard of this key")
		return out
	}
	at, _ := b.find(b.ofShard(shard))
	out.NodeID, out.Host, out.Port = at.id, at.host, at.port
	return out
}
