package native_test

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"moldau.dev/coordinator/coordinatorclient/coordinatortest"
	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// groups is a coordinator that has one shard, without a journal: the machine
// that decides about groups, called as a shard calls it.
type groups struct {
	coordinatortest.Unimplemented
	meta metadataclient.Client

	mu      sync.Mutex
	machine *group.Machine
	tickets shard.Ticket

	gone errFlag // while it cannot be reached
	// before, where set, may fail a call.
	before func(request any) error
}

func newGroups(meta metadataclient.Client) *groups {
	g := &groups{meta: meta, machine: group.New(group.DefaultConfig())}
	g.step(shard.Loaded{Epoch: 1, View: g.view()})
	return g
}

func (g *groups) view() *metadataclient.View {
	v := *g.meta.View()
	if v.Settings == nil {
		v.Settings = &metadataclient.Settings{}
	}
	return &v
}

// step lets time pass and takes in an event.
func (g *groups) step(e shard.Event) shard.Effects {
	for due := g.machine.Deadline(); !due.IsZero() && !due.After(time.Now()); due = g.machine.Deadline() {
		g.machine.Step(time.Now(), shard.Tick{})
	}
	return g.machine.Step(time.Now(), e)
}

// ask is for requests that are answered at once.
func ask[A any](g *groups, request any) (*A, error) {
	if err := g.gone.get(); err != nil {
		return nil, err
	}
	if g.before != nil {
		if err := g.before(request); err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step(shard.View{View: g.view()})
	g.tickets++
	q := shard.Request{Ticket: g.tickets, Message: request}
	_, _ = rand.Read(q.Nonce[:])
	reply := g.step(q).Replies[0]
	if reply.Err != nil {
		return nil, reply.Err
	}
	return reply.Message.(*A), nil
}

func (g *groups) HeartbeatMember(_ context.Context, q *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	return ask[coordinatorv1.HeartbeatMemberResponse](g, q)
}

func (g *groups) LeaveGroup(_ context.Context, q *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	return ask[coordinatorv1.LeaveGroupResponse](g, q)
}

func (g *groups) CommitOffsets(_ context.Context, q *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	return ask[coordinatorv1.CommitOffsetsResponse](g, q)
}

func (g *groups) FetchOffsets(_ context.Context, q *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	return ask[coordinatorv1.FetchOffsetsResponse](g, q)
}

func (g *groups) DeleteOffsets(_ context.Context, q *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	return ask[coordinatorv1.DeleteOffsetsResponse](g, q)
}

func (g *groups) ListGroups(_ context.Context, q *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	return ask[coordinatorv1.ListGroupsResponse](g, q)
}

func (g *groups) DescribeGroups(_ context.Context, q *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	return ask[coordinatorv1.DescribeGroupsResponse](g, q)
}

func (g *groups) DeleteGroups(_ context.Context, q *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	return ask[coordinatorv1.DeleteGroupsResponse](g, q)
}
