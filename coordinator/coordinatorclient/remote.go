package coordinatorclient

import (
	"context"

	"google.golang.org/grpc"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/transport"
)

// maxAnswerBytes bounds an answer: all members of a large group, or the offsets
// of many.
const maxAnswerBytes = 64 << 20

// remote is a coordinator in another process.
type remote struct {
	conn *grpc.ClientConn
	stub coordinatorv1.CoordinatorServiceClient
}

// dial returns the coordinator at target. It connects when first used.
func dial(target string, opts transport.DialOptions) (*remote, error) {
	if opts.MaxRecvBytes == 0 {
		opts.MaxRecvBytes = maxAnswerBytes
	}
	conn, err := transport.Dial(target, opts)
	if err != nil {
		return nil, err
	}
	return &remote{conn: conn, stub: coordinatorv1.NewCoordinatorServiceClient(conn)}, nil
}

func (r *remote) Close() error { return r.conn.Close() }

func (r *remote) JoinGroup(ctx context.Context, req *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
	return r.stub.JoinGroup(ctx, req)
}

func (r *remote) SyncGroup(ctx context.Context, req *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
	return r.stub.SyncGroup(ctx, req)
}

func (r *remote) HeartbeatGroup(ctx context.Context, req *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	return r.stub.HeartbeatGroup(ctx, req)
}

func (r *remote) LeaveGroup(ctx context.Context, req *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	return r.stub.LeaveGroup(ctx, req)
}

func (r *remote) HeartbeatMember(ctx context.Context, req *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	return r.stub.HeartbeatMember(ctx, req)
}

func (r *remote) CommitOffsets(ctx context.Context, req *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	return r.stub.CommitOffsets(ctx, req)
}

func (r *remote) FetchOffsets(ctx context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	return r.stub.FetchOffsets(ctx, req)
}

func (r *remote) DeleteOffsets(ctx context.Context, req *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	return r.stub.DeleteOffsets(ctx, req)
}

func (r *remote) ListGroups(ctx context.Context, req *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	return r.stub.ListGroups(ctx, req)
}

func (r *remote) DescribeGroups(ctx context.Context, req *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	return r.stub.DescribeGroups(ctx, req)
}

func (r *remote) DeleteGroups(ctx context.Context, req *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	return r.stub.DeleteGroups(ctx, req)
}

func (r *remote) InitProducer(ctx context.Context, req *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
	return r.stub.InitProducer(ctx, req)
}

func (r *remote) AddPartitions(ctx context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	return r.stub.AddPartitions(ctx, req)
}

func (r *remote) AddOffsets(ctx context.Context, req *coordinatorv1.AddOffsetsRequest) (*coordinatorv1.AddOffsetsResponse, error) {
	return r.stub.AddOffsets(ctx, req)
}

func (r *remote) CommitTransactionOffsets(ctx context.Context, req *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error) {
	return r.stub.CommitTransactionOffsets(ctx, req)
}

func (r *remote) EndTransaction(ctx context.Context, req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
	return r.stub.EndTransaction(ctx, req)
}

func (r *remote) CompleteOffsets(ctx context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	return r.stub.CompleteOffsets(ctx, req)
}

func (r *remote) ListTransactions(ctx context.Context, req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
	return r.stub.ListTransactions(ctx, req)
}

func (r *remote) DescribeTransactions(ctx context.Context, req *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error) {
	return r.stub.DescribeTransactions(ctx, req)
}

func (r *remote) ReleaseShards(ctx context.Context, req *coordinatorv1.ReleaseShardsRequest) (*coordinatorv1.ReleaseShardsResponse, error) {
	return r.stub.ReleaseShards(ctx, req)
}
