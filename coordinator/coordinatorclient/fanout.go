package coordinatorclient

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// atOnce bounds the calls that one call is split into and that run at once.
const atOnce = 8

// split groups the indexes of ids by shard.
func (r *Router) split(n int, id func(i int) string) (map[int32][]int, error) {
	shards := len(r.meta.View().Shards)
	if shards == 0 {
		return nil, errcode.New(errcode.CoordinatorUnavailable, "the cluster has no coordinator yet")
	}
	parts := map[int32][]int{}
	for i := range n {
		shard := ShardOf(id(i), shards)
		parts[shard] = append(parts[shard], i)
	}
	return parts, nil
}

// scatter asks the owner of each shard for its part of a request. ask builds
// the part; tell puts the answer, or the error of the part, into its place,
// which no other part writes to.
func scatter[Q, A any](ctx context.Context, r *Router, parts map[int32][]int, rpc func(Peer, context.Context, *Q) (*A, error),
	ask func(part []int) *Q, tell func(part []int, answer *A, err error),
) {
	var calls errgroup.Group
	calls.SetLimit(atOnce)
	for _, shard := range slices.Sorted(maps.Keys(parts)) {
		part := parts[shard]
		calls.Go(func() error {
			answer, err := call(ctx, r, func(int) int32 { return shard }, rpc, ask(part))
			tell(part, answer, err)
			return nil
		})
	}
	_ = calls.Wait() // errors stand in their parts
}

func partError(err error) *coordinatorv1.PartError {
	e := errcode.Of(err)
	return &coordinatorv1.PartError{Reason: string(e.Reason), Message: e.Message}
}

// pick returns the elements at some indexes.
func pick[T any](all []T, at []int) []T {
	some := make([]T, len(at))
	for i, j := range at {
		some[i] = all[j]
	}
	return some
}

// place puts the elements of an answer where their questions stood; one that is
// missing is the coordinator's fault.
func place[T any](all []T, at []int, some []T, missing T) {
	for i, j := range at {
		all[j] = missing
		if i < len(some) {
			all[j] = some[i]
		}
	}
}

var errShort = &coordinatorv1.PartError{Reason: string(errcode.Internal), Message: "the coordinator's answer is too short"}

// FetchOffsets implements Client. Groups may be of any shards; what goes wrong
// with a group's shard stands in its result.
func (r *Router) FetchOffsets(ctx context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	parts, err := r.split(len(req.GetGroups()), func(i int) string { return req.Groups[i].GetGroupId() })
	if err != nil {
		return nil, err
	}
	all := make([]*coordinatorv1.GroupOffsets, len(req.GetGroups()))
	scatter(ctx, r, parts, Peer.FetchOffsets, func(part []int) *coordinatorv1.FetchOffsetsRequest {
		return &coordinatorv1.FetchOffsetsRequest{Groups: pick(req.Groups, part), RequireStable: req.GetRequireStable()}
	}, func(part []int, answer *coordinatorv1.FetchOffsetsResponse, err error) {
		missing := errShort
		if err != nil {
			missing = partError(err)
		}
		place(all, part, answer.GetGroups(), &coordinatorv1.GroupOffsets{Error: missing})
	})
	return &coordinatorv1.FetchOffsetsResponse{Groups: all}, nil
}

// DescribeGroups implements Client. Groups may be of any shards; what goes
// wrong with a group's shard stands in its result.
func (r *Router) DescribeGroups(ctx context.Context, req *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	parts, err := r.split(len(req.GetGroupIds()), func(i int) string { return req.GroupIds[i] })
	if err != nil {
		return nil, err
	}
	all := make([]*coordinatorv1.Group, len(req.GetGroupIds()))
	scatter(ctx, r, parts, Peer.DescribeGroups, func(part []int) *coordinatorv1.DescribeGroupsRequest {
		return &coordinatorv1.DescribeGroupsRequest{GroupIds: pick(req.GroupIds, part)}
	}, func(part []int, answer *coordinatorv1.DescribeGroupsResponse, err error) {
		if err == nil {
			place(all, part, answer.GetGroups(), &coordinatorv1.Group{Error: errShort})
			return
		}
		for _, i := range part {
			all[i] = &coordinatorv1.Group{GroupId: req.GroupIds[i], Error: partError(err)}
		}
	})
	return &coordinatorv1.DescribeGroupsResponse{Groups: all}, nil
}

// DeleteGroups implements Client. Groups may be of any shards; what goes wrong
// with a group's shard stands in its result.
func (r *Router) DeleteGroups(ctx context.Context, req *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	parts, err := r.split(len(req.GetGroupIds()), func(i int) string { return req.GroupIds[i] })
	if err != nil {
		return nil, err
	}
	all := make([]*coordinatorv1.PartError, len(req.GetGroupIds()))
	scatter(ctx, r, parts, Peer.DeleteGroups, func(part []int) *coordinatorv1.DeleteGroupsRequest {
		return &coordinatorv1.DeleteGroupsRequest{GroupIds: pick(req.GroupIds, part)}
	}, func(part []int, answer *coordinatorv1.DeleteGroupsResponse, err error) {
		missing := errShort
		if err != nil {
			missing = partError(err)
		}
		place(all, part, answer.GetErrors(), missing)
	})
	return &coordinatorv1.DeleteGroupsResponse{Errors: all}, nil
}

// DescribeTransactions implements Client. Transactional ids may be of any
// shards; what goes wrong with the shard of one stands in its result.
func (r *Router) DescribeTransactions(ctx context.Context, req *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error) {
	parts, err := r.split(len(req.GetTransactionalIds()), func(i int) string { return req.TransactionalIds[i] })
	if err != nil {
		return nil, err
	}
	all := make([]*coordinatorv1.Transaction, len(req.GetTransactionalIds()))
	scatter(ctx, r, parts, Peer.DescribeTransactions, func(part []int) *coordinatorv1.DescribeTransactionsRequest {
		return &coordinatorv1.DescribeTransactionsRequest{TransactionalIds: pick(req.TransactionalIds, part)}
	}, func(part []int, answer *coordinatorv1.DescribeTransactionsResponse, err error) {
		if err == nil {
			place(all, part, answer.GetTransactions(), &coordinatorv1.Transaction{Error: errShort})
			return
		}
		for _, i := range part {
			all[i] = &coordinatorv1.Transaction{TransactionalId: req.TransactionalIds[i], Error: partError(err)}
		}
	})
	return &coordinatorv1.DescribeTransactionsResponse{Transactions: all}, nil
}

// ListGroups implements Client: the groups of all shards, by id. Shards whose
// owner does not answer count as loading.
func (r *Router) ListGroups(ctx context.Context, req *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	all := &coordinatorv1.ListGroupsResponse{}
	var err error
	all.LoadingShards, err = everywhere(ctx, r, Peer.ListGroups, req, func(answer *coordinatorv1.ListGroupsResponse) []int32 {
		all.Groups = append(all.Groups, answer.GetGroups()...)
		return answer.GetLoadingShards()
	})
	if err != nil {
		return nil, err
	}
	// A shard that moves meanwhile may have been listed twice.
	byID := func(a, b *coordinatorv1.ListedGroup) int { return cmp.Compare(a.GetGroupId(), b.GetGroupId()) }
	slices.SortFunc(all.Groups, byID)
	all.Groups = slices.CompactFunc(all.Groups, func(a, b *coordinatorv1.ListedGroup) bool { return byID(a, b) == 0 })
	return all, nil
}

// ListTransactions implements Client: the transactions of all shards, by id.
// Shards whose owner does not answer count as loading.
func (r *Router) ListTransactions(ctx context.Context, req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
	all := &coordinatorv1.ListTransactionsResponse{}
	var err error
	all.LoadingShards, err = everywhere(ctx, r, Peer.ListTransactions, req, func(answer *coordinatorv1.ListTransactionsResponse) []int32 {
		all.Transactions = append(all.Transactions, answer.GetTransactions()...)
		return answer.GetLoadingShards()
	})
	if err != nil {
		return nil, err
	}
	byID := func(a, b *coordinatorv1.Transaction) int {
		return cmp.Compare(a.GetTransactionalId(), b.GetTransactionalId())
	}
	slices.SortFunc(all.Transactions, byID)
	all.Transactions = slices.CompactFunc(all.Transactions, func(a, b *coordinatorv1.Transaction) bool { return byID(a, b) == 0 })
	return all, nil
}

// everywhere asks every coordinator that owns a shard. add takes in one answer
// at a time and returns the shards that it lacks. The shards that are lacking
// in all come back in order; an answer that the request itself is wrong is an
// error.
func everywhere[Q, A any](ctx context.Context, r *Router, rpc func(Peer, context.Context, *Q) (*A, error), req *Q, add func(*A) []int32) ([]int32, error) {
	view := r.meta.View()
	if len(view.Shards) == 0 {
		return nil, errcode.New(errcode.CoordinatorUnavailable, "the cluster has no coordinator yet")
	}
	owned := map[int32][]int32{}
	for i, s := range view.Shards {
		owned[s.Owner] = append(owned[s.Owner], int32(i))
	}
	lacking := owned[-1]
	delete(owned, -1)
	var mu sync.Mutex
	var calls errgroup.Group
	calls.SetLimit(atOnce)
	for _, id := range slices.Sorted(maps.Keys(owned)) {
		calls.Go(func() error {
			peer, err := r.pool.peer(view, id)
			var answer *A
			if err == nil {
				answer, err = rpc(peer, ctx, req)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				lacking = append(lacking, add(answer)...)
				return nil
			}
			if e := errcode.Of(err); !e.Retryable() {
				return e
			}
			lacking = append(lacking, owned[id]...)
			return nil
		})
	}
	if err := calls.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(lacking)
	return slices.Compact(lacking), nil
}
