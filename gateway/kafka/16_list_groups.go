package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/coordinator/coordinatorclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// ListGroups lists the groups that FindCoordinator sends to this broker;
// clients ask every broker.
//
// Versions 0–5, with filters by state from 4 and by type from 5 on. While a
// part of them is not to be had, the answer is COORDINATOR_LOAD_IN_PROGRESS.
func listGroupsAPI() api {
	return api{
		key: 16, name: "ListGroups", max: 5, flexible: 3, coordinated: true,
		shape: shape{list(aString).from(4), list(aString).from(5)},
		serve: coded(listGroups),
	}
}

func listGroups(c *conn, ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := kmsg.NewPtrListGroupsResponse()
	found, err := c.s.coordinators.ListGroups(ctx, &coordinatorv1.ListGroupsRequest{States: req.StatesFilter, Types: req.TypesFilter})
	if err != nil {
		resp.ErrorCode = groupCodeOf(err)
		return resp
	}
	own := c.s.brokers().ownShards(c.s.cfg.NodeID)
	if slices.ContainsFunc(found.GetLoadingShards(), own.has) {
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	}
	for _, g := range found.GetGroups() {
		if own.hasID(g.GetGroupId()) {
			resp.Groups = append(resp.Groups, kmsg.ListGroupsResponseGroup{
				Group: g.GetGroupId(), ProtocolType: g.GetProtocolType(), GroupState: g.GetState(), GroupType: g.GetType(),
			})
		}
	}
	return resp
}

// ownShards are the shards whose groups and transactions clients find at one
// broker.
type ownShards struct {
	b    *brokers
	self int32
}

func (b *brokers) ownShards(self int32) ownShards { return ownShards{b, self} }

func (o ownShards) has(shard int32) bool { return o.b.ofShard(shard) == o.self }

func (o ownShards) hasID(id string) bool {
	shards := len(o.b.view.Shards)
	return shards > 0 && o.has(coordinatorclient.ShardOf(id, shards))
}
