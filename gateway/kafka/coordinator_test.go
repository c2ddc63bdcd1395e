package kafka_test

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/coordinatorclient/coordinatortest"
	"moldau.dev/gateway"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// scripted is a coordinator that answers what a test sets, and remembers what
// it was asked last.
type scripted struct {
	coordinatortest.Unimplemented

	mu     sync.Mutex
	asked  proto.Message
	answer proto.Message
	err    error
	park   chan struct{} // where set, JoinGroup waits until it is closed or the caller gives up
}

// set makes the coordinator answer that from now on.
func (c *scripted) set(answer proto.Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.answer, c.err = nil, answer, err
}

func (c *scripted) last() proto.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func played[A proto.Message](c *scripted, req proto.Message) (none A, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = req
	if c.err != nil {
		return none, c.err
	}
	return c.answer.(A), nil
}

func (c *scripted) JoinGroup(ctx context.Context, req *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
	if c.park != nil {
		select {
		case c.park <- struct{}{}:
			<-ctx.Done()
			return nil, errcode.Of(ctx.Err())
		case <-ctx.Done():
			return nil, errcode.Of(ctx.Err())
		}
	}
	return played[*coordinatorv1.JoinGroupResponse](c, req)
}

func (c *scripted) SyncGroup(_ context.Context, req *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
	return played[*coordinatorv1.SyncGroupResponse](c, req)
}

func (c *scripted) HeartbeatGroup(_ context.Context, req *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	return played[*coordinatorv1.HeartbeatGroupResponse](c, req)
}

func (c *scripted) LeaveGroup(_ context.Context, req *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	return played[*coordinatorv1.LeaveGroupResponse](c, req)
}

func (c *scripted) HeartbeatMember(_ context.Context, req *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	return played[*coordinatorv1.HeartbeatMemberResponse](c, req)
}

func (c *scripted) CommitOffsets(_ context.Context, req *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	return played[*coordinatorv1.CommitOffsetsResponse](c, req)
}

func (c *scripted) FetchOffsets(_ context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	return played[*coordinatorv1.FetchOffsetsResponse](c, req)
}

func (c *scripted) DeleteOffsets(_ context.Context, req *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	return played[*coordinatorv1.DeleteOffsetsResponse](c, req)
}

func (c *scripted) ListGroups(_ context.Context, req *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	return played[*coordinatorv1.ListGroupsResponse](c, req)
}

func (c *scripted) DescribeGroups(_ context.Context, req *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	return played[*coordinatorv1.DescribeGroupsResponse](c, req)
}

func (c *scripted) DeleteGroups(_ context.Context, req *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	return played[*coordinatorv1.DeleteGroupsResponse](c, req)
}

func (c *scripted) InitProducer(_ context.Context, req *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
	return played[*coordinatorv1.InitProducerResponse](c, req)
}

func (c *scripted) AddPartitions(_ context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	return played[*coordinatorv1.AddPartitionsResponse](c, req)
}

func (c *scripted) AddOffsets(_ context.Context, req *coordinatorv1.AddOffsetsRequest) (*coordinatorv1.AddOffsetsResponse, error) {
	return played[*coordinatorv1.AddOffsetsResponse](c, req)
}

func (c *scripted) CommitTransactionOffsets(_ context.Context, req *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error) {
	return played[*coordinatorv1.CommitTransactionOffsetsResponse](c, req)
}

func (c *scripted) EndTransaction(_ context.Context, req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
	return played[*coordinatorv1.EndTransactionResponse](c, req)
}

func (c *scripted) CompleteOffsets(_ context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	return played[*coordinatorv1.CompleteOffsetsResponse](c, req)
}

func (c *scripted) ListTransactions(_ context.Context, req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
	return played[*coordinatorv1.ListTransactionsResponse](c, req)
}

func (c *scripted) DescribeTransactions(_ context.Context, req *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error) {
	return played[*coordinatorv1.DescribeTransactionsResponse](c, req)
}

// withCoordinator starts a gateway whose groups and transactions are played.
func withCoordinator(t *testing.T) (*fakes, *gateway.Service, *scripted) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	s := f.gateway(4, coordinated(c))
	f.awaitGateways(1)
	return f, s, c
}

func coordinated(c coordinatorclient.Client) func(*gateway.Config, *gateway.Deps) {
	return func(_ *gateway.Config, d *gateway.Deps) { d.Coordinators = c }
}

// shards gives the view n shards, all with an owner.
func (f *fakes) shards(n int) {
	f.meta.Change(func(v *metadataclient.View) { v.Shards = make([]metadataclient.Shard, n) })
}

// wants compares what a coordinator was asked.
func wants(t *testing.T, c *scripted, want proto.Message) {
	t.Helper()
	if got := c.last(); got == nil || !proto.Equal(got, want) {
		t.Errorf("the coordinator was asked\n%v, want\n%v", got, want)
	}
}

func refusal(reason errcode.Reason) error { return errcode.New(reason, "refused") }
