package coordinator

import (
	"context"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// CommitOffsets stores offsets of a group.
func (a *groupAPI) CommitOffsets(ctx context.Context, req *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	if clean := cleanOffsets(req.GetOffsets()); clean != nil {
		req = proto.CloneOf(req)
		req.Offsets = clean
	}
	return askGroup[coordinatorv1.CommitOffsetsResponse](ctx, a, req.GetGroupId(), req)
}

// CommitTransactionOffsets stores offsets that count once their transaction
// commits (T13).
func (a *groupAPI) CommitTransactionOffsets(ctx context.Context, req *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error) {
	if clean := cleanOffsets(req.GetOffsets()); clean != nil {
		req = proto.CloneOf(req)
		req.Offsets = clean
	}
	return askGroup[coordinatorv1.CommitTransactionOffsetsResponse](ctx, a, req.GetGroupId(), req, req.GetTransactionalId())
}

// cleanOffsets returns offsets whose texts are UTF-8, or nil where all are: as
// Kafka does, it puts a sign in the place of what cannot be read.
func cleanOffsets(offsets []*coordinatorv1.Offset) []*coordinatorv1.Offset {
	dirty := false
	for _, o := range offsets {
		dirty = dirty || !utf8.ValidString(o.GetMetadata()) || !utf8.ValidString(o.GetTopic())
	}
	if !dirty {
		return nil
	}
	clean := make([]*coordinatorv1.Offset, len(offsets))
	for i, o := range offsets {
		clean[i] = proto.CloneOf(o)
		clean[i].Metadata, clean[i].Topic = strings.ToValidUTF8(o.GetMetadata(), "\uFFFD"), strings.ToValidUTF8(o.GetTopic(), "\uFFFD")
	}
	return clean
}

// CompleteOffsets is the marker of a transaction for the offsets of one shard.
func (a *groupAPI) CompleteOffsets(ctx context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	s, err := a.shardOf(req.GetShard())
	if err != nil {
		return nil, err
	}
	return shard.Ask[coordinatorv1.CompleteOffsetsResponse](ctx, s, req)
}

// FetchOffsets returns committed offsets of groups of one shard.
func (a *groupAPI) FetchOffsets(ctx context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	groups := req.GetGroups()
	if len(groups) == 0 {
		return &coordinatorv1.FetchOffsetsResponse{}, nil
	}
	if err := a.oneShard(len(groups), func(i int) string { return groups[i].GetGroupId() }); err != nil {
		return nil, err
	}
	return askGroup[coordinatorv1.FetchOffsetsResponse](ctx, a, groups[0].GetGroupId(), req)
}

// DeleteOffsets forgets offsets of topics to which nobody subscribes.
func (a *groupAPI) DeleteOffsets(ctx context.Context, req *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	return askGroup[coordinatorv1.DeleteOffsetsResponse](ctx, a, req.GetGroupId(), req)
}

// groupCalls makes the calls of shards of groups.
type groupCalls struct{ peers coordinatorclient.Client }

// Do is a shard's Deps.Do: it asks the coordinator of a transaction whether
// offsets are in it, or adds them (T7, T13).
func (c *groupCalls) Do(ctx context.Context, message any) (any, error) {
	return c.peers.AddOffsets(ctx, message.(*coordinatorv1.AddOffsetsRequest))
}
