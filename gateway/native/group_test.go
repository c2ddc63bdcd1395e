package native_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/native"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// grouped is a server with a coordinator of groups and topic "t" of six
// partitions, in a bubble.
type grouped struct {
	*testing.T
	*native.Server
	meta    *gatewaytest.Metadata
	storage *gatewaytest.Storage
	groups  *groups
}

func inGroups(t *testing.T, test func(x *grouped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &grouped{T: t, meta: gatewaytest.NewMetadata(), storage: gatewaytest.NewStorage(clock.Real())}
		x.groups = newGroups(x.meta)
		if _, err := x.meta.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{Name: "t", PartitionCount: 6}); err != nil {
			t.Fatal(err)
		}
		x.Server = x.gateway()
		defer x.Close()
		test(x)
	})
}

// gateway is one more gateway of the cluster.
func (x *grouped) gateway() *native.Server {
	x.Helper()
	s, err := native.NewServer(native.Config{
		HeartbeatInterval: time.Second, ProduceTimeout: 10 * time.Second, MaxInFlightBytes: 64 << 20, StreamInFlightBytes: 4 << 20,
		MaxRequestBytes: 16 << 20, MaxStreamPartitions: 100,
	}, native.Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: x.meta,
		Nodes: gatewaytest.NewNodes(x.storage), Coordinators: x.groups,
	})
	if err != nil {
		x.Fatal(err)
	}
	return s
}

func (x *grouped) produce(partition int32, values ...string) {
	x.Helper()
	for _, v := range values {
		resp, err := x.Produce(x.Context(), &moldauv1.ProduceRequest{Topic: "t", Partition: &partition, Records: []*moldauv1.Record{{Value: []byte(v)}}})
		if err != nil || resp.GetResults()[0].GetError() != nil {
			x.Fatalf("%v, %v", resp, err)
		}
	}
}

func (x *grouped) commit(group string, partition int32, offset int64) {
	x.Helper()
	resp, err := x.CommitOffsets(x.Context(), &moldauv1.CommitOffsetsRequest{GroupId: group, Offsets: []*moldauv1.GroupOffset{{Topic: "t", Partition: partition, Offset: offset, Metadata: "mine"}}})
	if err != nil || resp.GetOffsets()[0].GetError() != nil {
		x.Fatalf("%v, %v", resp, err)
	}
}

// join makes a member of a group by hand.
func (x *grouped) join(group, member string) {
	x.Helper()
	if _, err := x.groups.HeartbeatMember(x.Context(), &coordinatorv1.HeartbeatMemberRequest{
		GroupId: group, MemberId: member, RebalanceTimeoutMs: 1000, Subscription: &coordinatorv1.Subscription{Topics: []string{"t"}, HasTopics: true},
		Owned: &coordinatorv1.Ownership{}, ClientId: "by hand",
	}); err != nil {
		x.Fatal(err)
	}
}

func (x *grouped) group(id string) *moldauv1.Group {
	x.Helper()
	resp, err := x.GetGroup(x.Context(), &moldauv1.GetGroupRequest{GroupId: id})
	if err != nil {
		x.Fatal(err)
	}
	return resp.GetGroup()
}

// TestAGroupIsShownWithItsLag in records and in time, with who holds what.
func TestAGroupIsShownWithItsLag(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b", "c")
		time.Sleep(time.Minute)
		x.produce(1, "d")
		x.commit("g", 0, 1)
		x.commit("g", 1, 1)
		time.Sleep(time.Minute)
		x.join("g", "m-1")
		g := x.group("g")
		if g.GetType() != moldauv1.GroupType_GROUP_TYPE_CONSUMER || g.GetState() != moldauv1.GroupState_GROUP_STATE_STABLE || len(g.GetMembers()) != 1 {
			t.Errorf("%v", g)
		}
		m := g.GetMembers()[0]
		if m.GetMember().GetMemberId() != "m-1" || m.GetMember().GetGeneration() < 1 || m.GetClientId() != "by hand" || !slices.Equal(m.GetTopics(), []string{"t"}) ||
			len(m.GetAssignment()) != 1 || len(m.GetAssignment()[0].GetPartitions()) != 6 {
			t.Errorf("%v", m)
		}
		if len(g.GetProgress()) != 6 {
			t.Fatalf("%v", g.GetProgress())
		}
		behind, up, never := g.GetProgress()[0], g.GetProgress()[1], g.GetProgress()[2]
		if behind.GetLag() != 2 || behind.GetTimeLag().AsDuration() != 2*time.Minute || behind.GetEndOffset() != 3 || behind.GetMetadata() != "mine" || behind.GetMemberId() != "m-1" {
			t.Errorf("behind: %v", behind)
		}
		if up.GetLag() != 0 || up.GetTimeLag() != nil || never.GetLag() != -1 || never.GetCommittedOffset() != -1 || never.GetEndOffset() != 0 {
			t.Errorf("%v, %v", up, never)
		}
	})
}

func TestAGroupIsMovedOnlyWithoutMembersAndShownFirst(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b", "c")
		x.produce(1, "d", "e")
		x.commit("g", 0, 3)
		req := &moldauv1.SeekGroupRequest{GroupId: "g", ValidateOnly: true, Topics: []*moldauv1.ReadTopic{{
			Topic: "t", Partitions: []*moldauv1.ReadPartition{
				{Partition: 1, Position: &moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: 1}}}, {Partition: 0},
			},
		}}}
		const want = "0:3→0 1:-1→1"
		seek := func() string {
			t.Helper()
			resp, err := x.SeekGroup(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			out := ""
			for _, p := range resp.GetPartitions() {
				out += fmt.Sprintf(" %d:%d→%d", p.GetPartition(), p.GetFromOffset(), p.GetToOffset())
			}
			return out[1:]
		}
		if got := seek(); got != want {
			t.Errorf("would move %s", got)
		}
		if p := x.group("g").GetProgress(); len(p) != 1 || p[0].GetCommittedOffset() != 3 {
			t.Errorf("a preview moved the group: %v", p)
		}
		req.ValidateOnly = false
		if got := seek(); got != want {
			t.Errorf("moved %s", got)
		}
		if p := x.group("g").GetProgress(); len(p) != 2 || p[0].GetCommittedOffset() != 0 || p[1].GetCommittedOffset() != 1 {
			t.Errorf("moved to %v", p)
		}
		x.join("g", "m-1")
		if _, err := x.SeekGroup(t.Context(), req); !errcode.Is(err, errcode.GroupNotEmpty) {
			t.Errorf("with a member: %v", err)
		}
		if _, err := x.DeleteGroup(t.Context(), &moldauv1.DeleteGroupRequest{GroupId: "g"}); !errcode.Is(err, errcode.GroupNotEmpty) {
			t.Errorf("with a member: %v", err)
		}
		removed, err := x.RemoveMembers(t.Context(), &moldauv1.RemoveMembersRequest{GroupId: "g", Members: []*moldauv1.GroupMember{{MemberId: "m-1"}, {MemberId: "m-2"}}})
		if err != nil || removed.GetMembers()[0].GetError() != nil || removed.GetMembers()[1].GetError().GetReason() != string(errcode.UnknownMember) {
			t.Errorf("%v, %v", removed, err)
		}
		deleted, err := x.DeleteGroupOffsets(t.Context(), &moldauv1.DeleteGroupOffsetsRequest{GroupId: "g", Topics: []*moldauv1.TopicPartitions{{Topic: "t", Partitions: []int32{1}}}})
		if err != nil || len(deleted.GetOffsets()) != 1 || deleted.GetOffsets()[0].GetError() != nil {
			t.Errorf("%v, %v", deleted, err)
		}
		if p := x.group("g").GetProgress(); len(p) != 1 || p[0].GetPartition() != 0 {
			t.Errorf("left: %v", p)
		}
		if _, err := x.DeleteGroup(t.Context(), &moldauv1.DeleteGroupRequest{GroupId: "g"}); err != nil {
			t.Error(err)
		}
		if _, err := x.GetGroup(t.Context(), &moldauv1.GetGroupRequest{GroupId: "g"}); !errcode.Is(err, errcode.UnknownGroup) {
			t.Errorf("a deleted group: %v", err)
		}
	})
}

func TestGroupsAreListedInPages(t *testing.T) {
	inGroups(t, func(x *grouped) {
		for _, id := range []string{"a", "b/1", "b/2", "b/3", "c"} {
			x.commit(id, 0, 0)
		}
		x.join("b/4", "m")
		list := func(req *moldauv1.ListGroupsRequest) (ids []string) {
			t.Helper()
			for {
				resp, err := x.ListGroups(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range resp.GetGroups() {
					ids = append(ids, g.GetGroupId())
				}
				if len(resp.GetGroups()) > 2 {
					t.Errorf("a page of %d", len(resp.GetGroups()))
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					return ids
				}
			}
		}
		if got := list(&moldauv1.ListGroupsRequest{PageSize: 2}); !slices.Equal(got, []string{"a", "b/1", "b/2", "b/3", "b/4", "c"}) {
			t.Errorf("listed %v", got)
		}
		if got := list(&moldauv1.ListGroupsRequest{PageSize: 2, Prefix: "b/", States: []moldauv1.GroupState{moldauv1.GroupState_GROUP_STATE_EMPTY}}); !slices.Equal(got, []string{"b/1", "b/2", "b/3"}) {
			t.Errorf("listed %v", got)
		}
		if got := list(&moldauv1.ListGroupsRequest{PageSize: 2, Types: []moldauv1.GroupType{moldauv1.GroupType_GROUP_TYPE_CONSUMER}}); !slices.Equal(got, []string{"b/4"}) {
			t.Errorf("listed %v", got)
		}
		for _, req := range []*moldauv1.ListGroupsRequest{
			{PageSize: -1}, {PageToken: "?"}, {PageToken: "YQ.Yg"}, {States: []moldauv1.GroupState{99}}, {Types: []moldauv1.GroupType{0}},
		} {
			if _, err := x.ListGroups(t.Context(), req); !errcode.Is(err, errcode.InvalidArgument) {
				t.Errorf("%v: %v", req, err)
			}
		}
	})
}

// FuzzWhatMembersTellEachOther: members of classic groups may say anything.
func FuzzWhatMembersTellEachOther(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		out := native.ReadAssignment(b)
		n := 0
		for _, p := range out {
			n += len(p.GetPartitions()) + 1
		}
		if n > len(b) {
			t.Errorf("%d partitions in %d bytes", n, len(b))
		}
		native.ReadTopics(b)
	})
}
