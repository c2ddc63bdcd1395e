// Package coordinatorclient is the door to the coordinators: what gateways
// (above), and the coordinators of each other (beside), may ask about groups,
// offsets and transactions. A Client finds the owner of a shard in metadata's
// View (below) and asks it: by a direct call where the owner lives in this
// process, else over gRPC.
//
// Invariant: a group or transactional id goes to the shard that Kafka's own
// tools send it to (ShardOf).
package coordinatorclient

import (
	"context"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// Client asks the coordinators as if they were one: each call goes to the
// owner of its shard, and calls about many groups or transactions to all the
// owners that they need. A NOT_COORDINATOR is asked again once the View has
// moved. COORDINATOR_UNAVAILABLE says that a shard has no owner, or that it did
// not answer: whether it acted is not known then.
type Client interface {
	Coordinator
	// Close closes the connections; calls under way fail.
	Close() error
}

// Peer is one coordinator, as the others see it.
type Peer interface {
	Coordinator
	// ReleaseShards makes the peer stop serving shards that the caller owns now.
	ReleaseShards(context.Context, *coordinatorv1.ReleaseShardsRequest) (*coordinatorv1.ReleaseShardsResponse, error)
}

// Coordinator is what can be asked. Errors are *errcode.Error. Messages of a
// coordinator in this process are handed over, not copied: neither side may
// change them. Safe for concurrent use.
type Coordinator interface {
	JoinGroup(context.Context, *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error)
	SyncGroup(context.Context, *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error)
	HeartbeatGroup(context.Context, *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error)
	LeaveGroup(context.Context, *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error)
	HeartbeatMember(context.Context, *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error)
	CommitOffsets(context.Context, *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error)
	FetchOffsets(context.Context, *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error)
	DeleteOffsets(context.Context, *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error)
	ListGroups(context.Context, *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error)
	DescribeGroups(context.Context, *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error)
	DeleteGroups(context.Context, *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error)

	InitProducer(context.Context, *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error)
	AddPartitions(context.Context, *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error)
	AddOffsets(context.Context, *coordinatorv1.AddOffsetsRequest) (*coordinatorv1.AddOffsetsResponse, error)
	CommitTransactionOffsets(context.Context, *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error)
	EndTransaction(context.Context, *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error)
	CompleteOffsets(context.Context, *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error)
	ListTransactions(context.Context, *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error)
	DescribeTransactions(context.Context, *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error)
}
