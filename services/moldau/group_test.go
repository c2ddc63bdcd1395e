package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// groupsAsTold are two pages of groups, one of which is known closely.
type groupsAsTold struct {
	moldauv1.UnimplementedGroupServiceServer
	members int
	deleted []string
	sought  []*moldauv1.SeekGroupRequest
}

func (g *groupsAsTold) ListGroups(_ context.Context, req *moldauv1.ListGroupsRequest) (*moldauv1.ListGroupsResponse, error) {
	if req.GetPageToken() == "" {
		return &moldauv1.ListGroupsResponse{NextPageToken: "2", Groups: []*moldauv1.Group{{
			GroupId: "billing", State: moldauv1.GroupState_GROUP_STATE_STABLE, Type: moldauv1.GroupType_GROUP_TYPE_CONSUMER, ProtocolType: "consumer",
		}}}, nil
	}
	return &moldauv1.ListGroupsResponse{Groups: []*moldauv1.Group{{GroupId: "old", State: moldauv1.GroupState_GROUP_STATE_PREPARING_REBALANCE, Type: moldauv1.GroupType_GROUP_TYPE_CLASSIC}}}, nil
}

func (g *groupsAsTold) GetGroup(_ context.Context, req *moldauv1.GetGroupRequest) (*moldauv1.GetGroupResponse, error) {
	if req.GetGroupId() != "billing" {
		return nil, errcode.New(errcode.UnknownGroup, "there is no group %q", req.GetGroupId())
	}
	out := &moldauv1.Group{GroupId: "billing", Progress: []*moldauv1.GroupProgress{
		{Topic: "t", Partition: 0, CommittedOffset: 3, EndOffset: 10, Lag: 7, TimeLag: durationpb.New(90 * time.Second), MemberId: "m-1"},
		{Topic: "t", Partition: 1, CommittedOffset: -1, EndOffset: 4, Lag: -1},
	}}
	for range g.members {
		out.Members = append(out.Members, &moldauv1.GroupMemberState{
			Member: &moldauv1.GroupMember{MemberId: "m-1", Generation: 5}, ClientId: "app", Assignment: []*moldauv1.TopicPartitions{{Topic: "t", Partitions: []int32{0, 2}}},
		})
	}
	return &moldauv1.GetGroupResponse{Group: out}, nil
}

func (g *groupsAsTold) SeekGroup(_ context.Context, req *moldauv1.SeekGroupRequest) (*moldauv1.SeekGroupResponse, error) {
	g.sought = append(g.sought, req)
	return &moldauv1.SeekGroupResponse{Partitions: []*moldauv1.GroupSeek{{Topic: "t", FromOffset: 3, ToOffset: 0}, {Topic: "t", Partition: 1, FromOffset: -1, ToOffset: 0}}}, nil
}

func (g *groupsAsTold) DeleteGroup(_ context.Context, req *moldauv1.DeleteGroupRequest) (*moldauv1.DeleteGroupResponse, error) {
	g.deleted = append(g.deleted, req.GetGroupId())
	return &moldauv1.DeleteGroupResponse{}, nil
}

// TestGroupVerbs: what each says, and its exit code.
func TestGroupVerbs(t *testing.T) {
	told := &groupsAsTold{members: 1}
	server := transport.NewServer(transport.Options{})
	moldauv1.RegisterGroupServiceServer(server, told)
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	verb := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"--addr", lis.Addr().String(), "group"}, args...), strings.NewReader(""), &out, &errs); code != want {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, want, &errs)
		}
		return out.String()
	}
	for _, c := range []struct {
		code int
		args string
		want string
	}{
		{0, "list", "GROUP\tSTATE\tTYPE\tPROTOCOL\nbilling\tstable\tconsumer\tconsumer\nold\tpreparing-rebalance\tclassic\t\n"},
		{0, "list -o name", "billing\nold\n"},
		{0, "describe billing", "TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tBEHIND\tMEMBER\nt\t0\t3\t10\t7\t1m30s\tm-1\nt\t1\t-\t4\t-\t-\t-\n"},
		{3, "describe nobody", ""},
		{2, "describe", ""},
		{0, "seek billing --topic t --to start --yes", "TOPIC\tPARTITION\tFROM\tTO\nt\t0\t3\t0\nt\t1\t-\t0\n"},
		{4, "seek billing --topic t --to start", ""},
		{2, "seek billing --topic t --to soon --yes", ""},
		{2, "seek billing --topic t --topic u -p 1 --to end --yes", ""},
		{2, "seek billing --to end --yes", ""},
		{4, "delete billing --yes", ""},
	} {
		if got := verb(c.code, strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	if wide := verb(0, "describe", "billing", "-o", "wide"); !strings.Contains(wide, "m-1\t5\t-\tapp\t-\tt[0,2]\n") {
		t.Errorf("wide: %s", wide)
	}
	verb(0, "seek", "billing", "--topic", "t", "-p", "1,2", "--to", "-5", "--dry-run")
	if last := told.sought[len(told.sought)-1]; !last.GetValidateOnly() || len(last.GetTopics()[0].GetPartitions()) != 2 || last.GetTopics()[0].GetPosition().GetBeforeEnd() != 5 {
		t.Errorf("asked for %v", last)
	}
	told.members = 0
	if got := verb(0, "delete", "billing", "--dry-run"); got != "would delete group billing with 2 offsets\n" || len(told.deleted) > 0 {
		t.Errorf("said %q, deleted %v", got, told.deleted)
	}
	if got := verb(0, "delete", "billing", "--yes"); got != "deleted group billing with 2 offsets\n" || len(told.deleted) != 1 {
		t.Errorf("said %q, deleted %v", got, told.deleted)
	}
}
