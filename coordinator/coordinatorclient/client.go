package coordinatorclient

import (
	"context"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// JoinGroup implements Client.
func (r *Router) JoinGroup(ctx context.Context, req *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.JoinGroup, req)
}

// SyncGroup implements Client.
func (r *Router) SyncGroup(ctx context.Context, req *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.SyncGroup, req)
}

// HeartbeatGroup implements Client.
func (r *Router) HeartbeatGroup(ctx context.Context, req *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.HeartbeatGroup, req)
}

// LeaveGroup implements Client.
func (r *Router) LeaveGroup(ctx context.Context, req *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.LeaveGroup, req)
}

// HeartbeatMember implements Client.
func (r *Router) HeartbeatMember(ctx context.Context, req *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.HeartbeatMember, req)
}

// CommitOffsets implements Client.
func (r *Router) CommitOffsets(ctx context.Context, req *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.CommitOffsets, req)
}

// DeleteOffsets implements Client.
func (r *Router) DeleteOffsets(ctx context.Context, req *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.DeleteOffsets, req)
}

// CommitTransactionOffsets implements Client.
func (r *Router) CommitTransactionOffsets(ctx context.Context, req *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error) {
	return byID(ctx, r, req.GetGroupId(), Peer.CommitTransactionOffsets, req)
}

// InitProducer implements Client.
func (r *Router) InitProducer(ctx context.Context, req *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
	return byID(ctx, r, req.GetTransactionalId(), Peer.InitProducer, req)
}

// AddPartitions implements Client.
func (r *Router) AddPartitions(ctx context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	return byID(ctx, r, req.GetTransactionalId(), Peer.AddPartitions, req)
}

// AddOffsets implements Client.
func (r *Router) AddOffsets(ctx context.Context, req *coordinatorv1.AddOffsetsRequest) (*coordinatorv1.AddOffsetsResponse, error) {
	return byID(ctx, r, req.GetTransactionalId(), Peer.AddOffsets, req)
}

// EndTransaction implements Client.
func (r *Router) EndTransaction(ctx context.Context, req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
	return byID(ctx, r, req.GetTransactionalId(), Peer.EndTransaction, req)
}

// CompleteOffsets implements Client.
func (r *Router) CompleteOffsets(ctx context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	return call(ctx, r, func(int) int32 { return req.GetShard() }, Peer.CompleteOffsets, req)
}
