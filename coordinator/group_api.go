package coordinator

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// groupAPI serves the RPCs about groups and their offsets.
type groupAPI struct {
	meta metadataclient.Client
	// shardOf returns the shard of groups with an index, if it is this
	// coordinator's; else the error is NOT_COORDINATOR.
	shardOf func(index int32) (*shard.Shard, error)
	// shards are all that are this coordinator's, by index.
	shards func() map[int32]*shard.Shard
}

// askGroup asks the shard of a group. Texts that may be kept must be UTF-8:
// callers in this process are not checked by the wire.
func askGroup[A any](ctx context.Context, a *groupAPI, group string, question any, texts ...string) (*A, error) {
	for _, text := range append(texts, group) {
		if !utf8.ValidString(text) {
			return nil, errcode.New(errcode.InvalidArgument, "a text is not UTF-8")
		}
	}
	index, err := a.index(group)
	if err != nil {
		return nil, err
	}
	s, err := a.shardOf(index)
	if err != nil {
		return nil, err
	}
	return shard.Ask[A](ctx, s, question)
}

// index is the shard that a group is in.
func (a *groupAPI) index(group string) (int32, error) {
	shards := len(a.meta.View().Shards)
	if shards == 0 {
		return 0, errcode.New(errcode.CoordinatorUnavailable, "the cluster has no coordinator yet")
	}
	return coordinatorclient.ShardOf(group, shards), nil
}

// oneShard asks that all groups of a request are in the shard of the first.
func (a *groupAPI) oneShard(n int, group func(i int) string) error {
	for i := 1; i < n; i++ {
		first, err := a.index(group(0))
		if err != nil {
			return err
		}
		if other, err := a.index(group(i)); err != nil || other != first {
			return errcode.New(errcode.InvalidArgument, "groups %q and %q are in different shards", group(0), group(i))
		}
	}
	return nil
}

// JoinGroup joins a classic group. It waits as long as the rebalance takes: the
// caller's deadline must be beyond its rebalance timeout.
func (a *groupAPI) JoinGroup(ctx context.Context, req *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
	texts := []string{req.GetInstanceId(), req.GetClientId(), req.GetClientHost(), req.GetProtocolType()}
	for _, p := range req.GetProtocols() {
		texts = append(texts, p.GetName())
	}
	return askGroup[coordinatorv1.JoinGroupResponse](ctx, a, req.GetGroupId(), req, texts...)
}

// SyncGroup hands in or waits for the assignment of a classic group.
func (a *groupAPI) SyncGroup(ctx context.Context, req *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
	return askGroup[coordinatorv1.SyncGroupResponse](ctx, a, req.GetGroupId(), req)
}

// HeartbeatGroup keeps a classic member alive.
func (a *groupAPI) HeartbeatGroup(ctx context.Context, req *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	return askGroup[coordinatorv1.HeartbeatGroupResponse](ctx, a, req.GetGroupId(), req)
}

// LeaveGroup removes members of the classic protocol.
func (a *groupAPI) LeaveGroup(ctx context.Context, req *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	return askGroup[coordinatorv1.LeaveGroupResponse](ctx, a, req.GetGroupId(), req)
}

// HeartbeatMember is the one request of the next-generation protocol.
func (a *groupAPI) HeartbeatMember(ctx context.Context, req *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	texts := append([]string{
		req.GetMemberId(), req.GetInstanceId(), req.GetRackId(), req.GetClientId(), req.GetClientHost(), req.GetServerAssignor(), req.GetSubscription().GetRegex(),
	}, req.GetSubscription().GetTopics()...)
	return askGroup[coordinatorv1.HeartbeatMemberResponse](ctx, a, req.GetGroupId(), req, texts...)
}

// DescribeGroups describes groups of one shard.
func (a *groupAPI) DescribeGroups(ctx context.Context, req *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	ids := req.GetGroupIds()
	if len(ids) == 0 {
		return &coordinatorv1.DescribeGroupsResponse{}, nil
	}
	if err := a.oneShard(len(ids), func(i int) string { return ids[i] }); err != nil {
		return nil, err
	}
	return askGroup[coordinatorv1.DescribeGroupsResponse](ctx, a, ids[0], req)
}

// DeleteGroups deletes groups of one shard.
func (a *groupAPI) DeleteGroups(ctx context.Context, req *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	ids := req.GetGroupIds()
	if len(ids) == 0 {
		return &coordinatorv1.DeleteGroupsResponse{}, nil
	}
	if err := a.oneShard(len(ids), func(i int) string { return ids[i] }); err != nil {
		return nil, err
	}
	return askGroup[coordinatorv1.DeleteGroupsResponse](ctx, a, ids[0], req)
}

// ListGroups lists the groups of the shards that are served here.
func (a *groupAPI) ListGroups(ctx context.Context, req *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	all, shards := &coordinatorv1.ListGroupsResponse{}, a.shards()
	for _, index := range slices.Sorted(maps.Keys(shards)) {
		listed, err := shard.Ask[coordinatorv1.ListGroupsResponse](ctx, shards[index], req)
		switch {
		case err == nil:
			all.Groups = append(all.Groups, listed.GetGroups()...)
		case ctx.Err() != nil:
			return nil, err
		default: // loading, or just lost: another coordinator may not list it yet
			all.LoadingShards = append(all.LoadingShards, index)
		}
	}
	slices.SortFunc(all.Groups, func(x, y *coordinatorv1.ListedGroup) int {
		return strings.Compare(x.GetGroupId(), y.GetGroupId())
	})
	return all, nil
}
