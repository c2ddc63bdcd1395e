package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

func TestTrap8CoordinatorsAreBrokersOfTheMetadata(t *testing.T) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	a, b := f.gateway(4, coordinated(c)), f.gateway(5, coordinated(c))
	f.awaitGateways(2)
	count := map[int32]int{}
	for _, key := range strings.Split("a b c d e f g h i j k l m n o p q r s t", " ") {
		for version := range int16(7) {
			for _, kind := range []int8{0, 1} {
				at := findAt(t, a, version, kind, key)
				if at != findAt(t, b, version, kind, key) {
					t.Fatalf("version %d: gateways send %q to different brokers", version, key)
				}
				if at != 4 && at != 5 {
					t.Fatalf("version %d: %q is at broker %d", version, key, at)
				}
				count[at]++
			}
		}
	}
	if count[4] == 0 || count[5] == 0 {
		t.Errorf("by broker: %v", count)
	}
	f.meta.Change(func(v *metadataclient.View) { v.Shards = nil })
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKeys = 6, []string{"x"}
	if got := askAt[*kmsg.FindCoordinatorResponse](t, a, req).Coordinators[0]; got.ErrorCode != 15 {
		t.Errorf("without coordinators: %+v", got)
	}
	req.CoordinatorType = 2
	if got := askAt[*kmsg.FindCoordinatorResponse](t, a, req).Coordinators[0]; got.ErrorCode != invalidRequest {
		t.Errorf("of share groups: %+v", got)
	}
}

func findAt(t *testing.T, s *gateway.Service, version int16, kind int8, key string) int32 {
	t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey, req.CoordinatorKeys, req.CoordinatorType = version, key, []string{key}, kind
	resp := askAt[*kmsg.FindCoordinatorResponse](t, s, req)
	if version >= 4 {
		return resp.Coordinators[0].NodeID
	}
	return resp.NodeID
}

func TestJoinGroupInEachVersion(t *testing.T) {
	_, s, c := withCoordinator(t)
	for version := range int16(10) {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.MemberID, req.ProtocolType = version, "g", "m", "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 60_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("meta")}}
		req.Reason = kmsg.StringPtr("why")
		c.set(&coordinatorv1.JoinGroupResponse{
			Generation: 3, ProtocolType: "consumer", ProtocolName: "range", LeaderId: "m", MemberId: "m", SkipAssignment: true,
			Members: []*coordinatorv1.JoinedMember{{MemberId: "m", InstanceId: "i", Metadata: []byte("meta")}},
		}, nil)
		got := askAt[*kmsg.JoinGroupResponse](t, s, req)
		want := &coordinatorv1.JoinGroupRequest{
			GroupId: "g", MemberId: "m", ClientId: "test", ClientHost: "/127.0.0.1", SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 60_000,
			ProtocolType: "consumer", Protocols: []*coordinatorv1.Protocol{{Name: "range", Metadata: []byte("meta")}},
			RequireKnownMember: version >= 4, SupportsSkippingAssignment: version >= 9,
		}
		if version == 0 {
			want.RebalanceTimeoutMs = 10_000
		}
		if version >= 8 {
			want.Why = "why"
		}
		wants(t, c, want)
		if got.ErrorCode != 0 || got.Generation != 3 || *got.Protocol != "range" || got.LeaderID != "m" || len(got.Members) != 1 || string(got.Members[0].ProtocolMetadata) != "meta" {
			t.Errorf("version %d: %+v", version, got)
		}
		if version >= 7 && *got.ProtocolType != "consumer" || version >= 9 && !got.SkipAssignment {
			t.Errorf("version %d: %+v", version, got)
		}
		c.set(nil, refusal(errcode.MemberIDRequired).(*errcode.Error).With("member_id", "given"))
		if got := askAt[*kmsg.JoinGroupResponse](t, s, req); got.ErrorCode != 79 || got.MemberID != "given" || got.Generation != -1 {
			t.Errorf("version %d, without an id: %+v", version, got)
		}
	}
}

func TestItem57StaticMembersNeedNoSecondJoin(t *testing.T) {
	_, s, c := withCoordinator(t)
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.InstanceID = 9, "g", kmsg.StringPtr("i")
	c.set(&coordinatorv1.JoinGroupResponse{}, nil)
	askAt[*kmsg.JoinGroupResponse](t, s, req)
	if asked := c.last().(*coordinatorv1.JoinGroupRequest); asked.GetRequireKnownMember() || asked.GetInstanceId() != "i" {
		t.Errorf("asked %v", asked)
	}
}

// TestAJoinThatWaitsEndsWithTheDrain sends members to another gateway when this
// one goes.
func TestAJoinThatWaitsEndsWithTheDrain(t *testing.T) {
	f, c := newFakes(t), &scripted{park: make(chan struct{})}
	f.shards(50)
	s := f.gateway(4, coordinated(c))
	w := dial(t, s.KafkaAddr())
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.RebalanceTimeoutMillis = 5, "g", 300_000
	w.write(req)
	<-c.park
	check(t, s.Drain(t.Context()))
	_, body, err := w.read()
	check(t, err)
	got := must(parse(req, body)).(*kmsg.JoinGroupResponse)
	if got.ErrorCode != 16 {
		t.Errorf("got %+v, want NOT_COORDINATOR", got)
	}
}

func TestGroupErrorsAreKafkas(t *testing.T) {
	_, s, c := withCoordinator(t)
	for reason, want := range map[errcode.Reason]int16{
		errcode.UnknownMember: 25, errcode.IllegalGeneration: 22, errcode.RebalanceInProgress: 27, errcode.FencedInstance: 82,
		errcode.NotCoordinator: 16, errcode.CoordinatorLoading: 14, errcode.CoordinatorUnavailable: 15, errcode.InvalidGroupID: 24,
		errcode.RequestTimedOut: 15, errcode.NodeUnavailable: 15, errcode.ShuttingDown: 15, errcode.Internal: -1,
	} {
		c.set(nil, refusal(reason))
		for version := range int16(5) {
			req := kmsg.NewPtrHeartbeatRequest()
			req.Version, req.Group, req.Generation, req.MemberID = version, "g", 7, "m"
			if got := askAt[*kmsg.HeartbeatResponse](t, s, req); got.ErrorCode != want {
				t.Errorf("%s: code %d, want %d", reason, got.ErrorCode, want)
			}
			wants(t, c, &coordinatorv1.HeartbeatGroupRequest{GroupId: "g", Generation: 7, MemberId: "m"})
		}
	}
}

func TestSyncGroupInEachVersion(t *testing.T) {
	_, s, c := withCoordinator(t)
	for version := range int16(6) {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.Generation, req.MemberID = version, "g", 3, "m"
		req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("mine")}}
		c.set(&coordinatorv1.SyncGroupResponse{ProtocolType: "consumer", ProtocolName: "range", Assignment: []byte("mine")}, nil)
		got := askAt[*kmsg.SyncGroupResponse](t, s, req)
		want := &coordinatorv1.SyncGroupRequest{GroupId: "g", Generation: 3, MemberId: "m", Assignments: []*coordinatorv1.MemberAssignment{{MemberId: "m", Assignment: []byte("mine")}}}
		if version >= 5 {
			want.ProtocolType, want.ProtocolName = "consumer", "range"
		}
		wants(t, c, want)
		if got.ErrorCode != 0 || string(got.MemberAssignment) != "mine" {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group = 5, "g"
	if got := askAt[*kmsg.SyncGroupResponse](t, s, req); got.ErrorCode != 23 {
		t.Errorf("without a protocol: %+v", got)
	}
}

func TestItem63LeaveGroupNamesOneOrMany(t *testing.T) {
	_, s, c := withCoordinator(t)
	for version := range int16(6) {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group, req.MemberID = version, "g", "m"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {InstanceID: kmsg.StringPtr("i"), Reason: kmsg.StringPtr("why")}}
		if version < 3 {
			c.set(&coordinatorv1.LeaveGroupResponse{Errors: []*coordinatorv1.PartError{{Reason: "UNKNOWN_MEMBER"}}}, nil)
			if got := askAt[*kmsg.LeaveGroupResponse](t, s, req); got.ErrorCode != 25 {
				t.Errorf("version %d: %+v", version, got)
			}
			wants(t, c, &coordinatorv1.LeaveGroupRequest{GroupId: "g", Members: []*coordinatorv1.LeavingMember{{MemberId: "m"}}})
			continue
		}
		c.set(&coordinatorv1.LeaveGroupResponse{Errors: []*coordinatorv1.PartError{{}, {Reason: "UNKNOWN_MEMBER"}}}, nil)
		got := askAt[*kmsg.LeaveGroupResponse](t, s, req)
		if got.ErrorCode != 0 || len(got.Members) != 2 || got.Members[0].ErrorCode != 0 || got.Members[1].ErrorCode != 25 || *got.Members[1].InstanceID != "i" {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestItem66OffsetCommitInEachVersion(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	for version := int16(2); version <= 10; version++ {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation, req.MemberID, req.RetentionTimeMillis = version, "g", 3, "m", 77
		part := func(index int32) kmsg.OffsetCommitRequestTopicPartition {
			return kmsg.OffsetCommitRequestTopicPartition{Partition: index, Offset: 42, LeaderEpoch: 5, Metadata: kmsg.StringPtr("{\"id\":\"\u00fc\"}")}
		}
		req.Topics = []kmsg.OffsetCommitRequestTopic{
			{Topic: "t", TopicID: topic.ID, Partitions: []kmsg.OffsetCommitRequestTopicPartition{part(1), part(9)}},
			{Topic: "no-such", TopicID: [16]byte{1}, Partitions: []kmsg.OffsetCommitRequestTopicPartition{part(0)}},
		}
		c.set(&coordinatorv1.CommitOffsetsResponse{Errors: []*coordinatorv1.PartError{{Reason: "OFFSET_METADATA_TOO_LARGE"}}}, nil)
		got := askAt[*kmsg.OffsetCommitResponse](t, s, req)
		want := &coordinatorv1.Offset{
			Topic: "t", TopicId: topic.ID[:], Partition: 1, Offset: 42, LeaderEpoch: 5, Metadata: "{\"id\":\"\u00fc\"}", RetentionMs: -1,
		}
		if version <= 4 {
			want.RetentionMs = 77
		}
		if version < 6 {
			want.LeaderEpoch = -1
		}
		wants(t, c, &coordinatorv1.CommitOffsetsRequest{GroupId: "g", Generation: 3, MemberId: "m", Legacy: version < 9, Offsets: []*coordinatorv1.Offset{want}})
		missing := int16(unknownTopic)
		if version >= 10 {
			missing = unknownTopicID
		}
		if p := got.Topics[0].Partitions; p[0].ErrorCode != 12 || p[1].ErrorCode != unknownTopic || got.Topics[1].Partitions[0].ErrorCode != missing {
			t.Errorf("version %d: %+v", version, got)
		}
		c.set(nil, refusal(errcode.StaleMemberEpoch))
		if got := askAt[*kmsg.OffsetCommitResponse](t, s, req); got.Topics[0].Partitions[0].ErrorCode != 113 || got.Topics[0].Partitions[1].ErrorCode != unknownTopic {
			t.Errorf("version %d, stale: %+v", version, got)
		}
	}
}

func TestItem66OffsetFetchInEachVersion(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	for version := int16(1); version <= 10; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group, req.RequireStable = version, "g", version >= 7
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{1, 0}}}
		if version >= 8 {
			req.Groups = []kmsg.OffsetFetchRequestGroup{{
				Group: "g", MemberID: kmsg.StringPtr("m"), MemberEpoch: 4,
				Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: topic.ID, Partitions: []int32{1, 0}}},
			}}
		}
		c.set(&coordinatorv1.FetchOffsetsResponse{Groups: []*coordinatorv1.GroupOffsets{{
			Offsets: []*coordinatorv1.Offset{{Topic: "t", Partition: 1, Offset: 42, LeaderEpoch: 5, Metadata: "m"}, {Topic: "t", Offset: 7, LeaderEpoch: -1}},
			Errors:  []*coordinatorv1.PartError{{}, {Reason: "UNSTABLE_OFFSET"}},
		}}}, nil)
		got := askAt[*kmsg.OffsetFetchResponse](t, s, req)
		want := &coordinatorv1.FetchGroupOffsets{GroupId: "g", MemberEpoch: -1, Keys: []*coordinatorv1.OffsetKey{
			{Topic: "t", TopicId: topic.ID[:], Partition: 1}, {Topic: "t", TopicId: topic.ID[:], Partition: 0},
		}}
		if version >= 9 {
			want.MemberId, want.MemberEpoch = "m", 4
		}
		wants(t, c, &coordinatorv1.FetchOffsetsRequest{RequireStable: version >= 7, Groups: []*coordinatorv1.FetchGroupOffsets{want}})
		parts := offsetsOf(got)
		if len(parts) != 2 || parts[0].Partition != 1 || parts[0].Offset != 42 || *parts[0].Metadata != "m" || parts[1].ErrorCode != 88 || parts[1].Offset != -1 {
			t.Errorf("version %d: %+v", version, got)
		}
		if version >= 5 && parts[0].LeaderEpoch != 5 {
			t.Errorf("version %d: %+v", version, parts[0])
		}
	}
}

// offsetsOf returns the partitions of the only topic, whatever the version.
func offsetsOf(resp *kmsg.OffsetFetchResponse) (out []kmsg.OffsetFetchResponseGroupTopicPartition) {
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			out = append(out, t.Partitions...)
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, kmsg.OffsetFetchResponseGroupTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
	}
	return out
}

func TestItem66OffsetFetchOfAll(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	for _, version := range []int16{2, 7, 8, 10} {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group = version, "g"
		if version >= 8 {
			req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1}}
		}
		c.set(&coordinatorv1.FetchOffsetsResponse{Groups: []*coordinatorv1.GroupOffsets{{
			Offsets: []*coordinatorv1.Offset{{Topic: "t", Partition: 1, Offset: 42}, {Topic: "gone", Offset: 7}},
			Errors:  []*coordinatorv1.PartError{{}, {}},
		}}}, nil)
		got := askAt[*kmsg.OffsetFetchResponse](t, s, req)
		if asked := c.last().(*coordinatorv1.FetchOffsetsRequest).GetGroups()[0]; !asked.GetAll() || len(asked.GetKeys()) != 0 {
			t.Errorf("version %d: asked %v", version, asked)
		}
		if n := len(offsetsOf(got)); n != 2 && version < 10 || n != 1 && version == 10 {
			t.Errorf("version %d: %+v", version, got)
		}
		if version == 10 && got.Groups[0].Topics[0].TopicID != topic.ID {
			t.Errorf("by id: %+v", got.Groups[0])
		}
		c.set(&coordinatorv1.FetchOffsetsResponse{Groups: []*coordinatorv1.GroupOffsets{{Error: &coordinatorv1.PartError{Reason: "NOT_COORDINATOR"}}}}, nil)
		got = askAt[*kmsg.OffsetFetchResponse](t, s, req)
		if code := got.ErrorCode; version < 8 && code != 16 {
			t.Errorf("version %d: code %d", version, code)
		}
		if version >= 8 && got.Groups[0].ErrorCode != 16 {
			t.Errorf("version %d: %+v", version, got.Groups[0])
		}
	}
}

func TestTrap1ListGroupsTellsOwnGroupsOnly(t *testing.T) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	a, b := f.gateway(4, coordinated(c)), f.gateway(5, coordinated(c))
	f.awaitGateways(2)
	var all []*coordinatorv1.ListedGroup
	for _, id := range strings.Split("a b c d e f g h i j", " ") {
		all = append(all, &coordinatorv1.ListedGroup{GroupId: id, ProtocolType: "consumer", State: "Stable", Type: "classic"})
	}
	c.set(&coordinatorv1.ListGroupsResponse{Groups: all}, nil)
	seen := map[string]int32{}
	for id, s := range map[int32]*gateway.Service{4: a, 5: b} {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = 5, []string{"Stable"}, []string{"classic"}
		got := askAt[*kmsg.ListGroupsResponse](t, s, req)
		wants(t, c, &coordinatorv1.ListGroupsRequest{States: []string{"Stable"}, Types: []string{"classic"}})
		for _, g := range got.Groups {
			if _, twice := seen[g.Group]; twice || g.GroupState != "Stable" || g.GroupType != "classic" {
				t.Errorf("got %+v", g)
			}
			if at := findAt(t, a, 6, 0, g.Group); at != id {
				t.Errorf("group %s is listed by broker %d, and found at %d", g.Group, id, at)
			}
			seen[g.Group] = id
		}
	}
	if len(seen) != len(all) {
		t.Errorf("listed: %v", seen)
	}
	c.set(&coordinatorv1.ListGroupsResponse{LoadingShards: []int32{0, 1}}, nil)
	req := kmsg.NewPtrListGroupsRequest()
	req.Version = 5
	if got := askAt[*kmsg.ListGroupsResponse](t, a, req); got.ErrorCode != 14 {
		t.Errorf("while shards load: %+v", got)
	}
}

func TestDescribeGroupsInEachVersion(t *testing.T) {
	_, s, c := withCoordinator(t)
	c.set(&coordinatorv1.DescribeGroupsResponse{Groups: []*coordinatorv1.Group{
		{GroupId: "g", Type: "classic", State: "Stable", ProtocolType: "consumer", ProtocolName: "range", Members: []*coordinatorv1.Member{
			{MemberId: "m", InstanceId: "i", ClientId: "c", ClientHost: "/h", Metadata: []byte("meta"), Assignment: []byte("mine")},
		}},
		{GroupId: "absent", Error: &coordinatorv1.PartError{Reason: "UNKNOWN_GROUP"}},
		{GroupId: "next", Type: "consumer", State: "Stable"},
		{GroupId: "loading", Error: &coordinatorv1.PartError{Reason: "COORDINATOR_LOADING"}},
	}}, nil)
	for version := range int16(7) {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups, req.IncludeAuthorizedOperations = version, []string{"g", "absent", "next", "loading"}, true
		got := askAt[*kmsg.DescribeGroupsResponse](t, s, req).Groups
		m := got[0].Members[0]
		if got[0].ErrorCode != 0 || got[0].State != "Stable" || m.MemberID != "m" || string(m.MemberAssignment) != "mine" || version >= 4 && *m.InstanceID != "i" {
			t.Errorf("version %d: %+v", version, got[0])
		}
		for _, g := range got[1:3] {
			if version < 6 && (g.ErrorCode != 0 || g.State != "Dead") || version == 6 && (g.ErrorCode != 69 || g.ErrorMessage == nil) {
				t.Errorf("version %d: %+v", version, g)
			}
		}
		if got[3].ErrorCode != 14 {
			t.Errorf("version %d: %+v", version, got[3])
		}
	}
}

func TestItem68DeletingGroupsAndOffsets(t *testing.T) {
	f, s, c := withCoordinator(t)
	f.topic("t", 1)
	c.set(&coordinatorv1.DeleteGroupsResponse{Errors: []*coordinatorv1.PartError{{}, {Reason: "GROUP_NOT_EMPTY"}, {Reason: "UNKNOWN_GROUP"}}}, nil)
	for version := range int16(3) {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = version, []string{"a", "b", "c"}
		if got := askAt[*kmsg.DeleteGroupsResponse](t, s, req).Groups; got[0].ErrorCode != 0 || got[1].ErrorCode != 68 || got[2].ErrorCode != 69 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = "g"
	req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}
	c.set(&coordinatorv1.DeleteOffsetsResponse{Errors: []*coordinatorv1.PartError{{Reason: "GROUP_SUBSCRIBED"}}}, nil)
	if got := askAt[*kmsg.OffsetDeleteResponse](t, s, req); got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 86 || got.Topics[0].Partitions[1].ErrorCode != unknownTopic {
		t.Errorf("got %+v", got)
	}
	c.set(nil, refusal(errcode.UnknownGroup))
	if got := askAt[*kmsg.OffsetDeleteResponse](t, s, req); got.ErrorCode != 69 || len(got.Topics) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestItem70ConsumerGroupHeartbeat(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	for version := range int16(2) {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = version, "g", "m", 0, 60_000
		req.SubscribedTopicNames, req.SubscribedTopicRegex = []string{"t"}, kmsg.StringPtr("t.*")
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		c.set(&coordinatorv1.HeartbeatMemberResponse{MemberId: "m", MemberEpoch: 1, HeartbeatIntervalMs: 5000, Assignment: &coordinatorv1.Ownership{
			Partitions: []*coordinatorv1.TopicPartitions{{TopicId: topic.ID[:], Partitions: []int32{0, 1}}},
		}}, nil)
		got := askAt[*kmsg.ConsumerGroupHeartbeatResponse](t, s, req)
		want := &coordinatorv1.HeartbeatMemberRequest{
			GroupId: "g", MemberId: "m", RebalanceTimeoutMs: 60_000, ClientId: "test", ClientHost: "/127.0.0.1", Legacy: version == 0,
			Subscription: &coordinatorv1.Subscription{Topics: []string{"t"}, HasTopics: true}, Owned: &coordinatorv1.Ownership{},
		}
		if version >= 1 {
			want.Subscription.Regex = kmsg.StringPtr("t.*")
		}
		wants(t, c, want)
		if got.ErrorCode != 0 || *got.MemberID != "m" || got.MemberEpoch != 1 || got.HeartbeatIntervalMillis != 5000 || len(got.Assignment.Topics) != 1 || got.Assignment.Topics[0].TopicID != topic.ID {
			t.Errorf("version %d: %+v", version, got)
		}
		req = kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch = version, "g", "m", 1
		c.set(&coordinatorv1.HeartbeatMemberResponse{MemberId: "m", MemberEpoch: 1}, nil)
		if got := askAt[*kmsg.ConsumerGroupHeartbeatResponse](t, s, req); got.Assignment != nil {
			t.Errorf("version %d, unchanged: %+v", version, got)
		}
		if asked := c.last().(*coordinatorv1.HeartbeatMemberRequest); asked.GetSubscription() != nil || asked.GetOwned() != nil || asked.GetRebalanceTimeoutMs() != -1 {
			t.Errorf("version %d, unchanged: asked %v", version, asked)
		}
		c.set(nil, refusal(errcode.FencedMemberEpoch))
		if got := askAt[*kmsg.ConsumerGroupHeartbeatResponse](t, s, req); got.ErrorCode != 110 || *got.ErrorMessage != "refused" {
			t.Errorf("version %d, fenced: %+v", version, got)
		}
	}
}

func TestTrap11GroupVersionZeroSwitchesTheConsumerProtocolOff(t *testing.T) {
	f, s, _ := withCoordinator(t)
	f.meta.Change(func(v *metadataclient.View) {
		v.Settings = &metadataclient.Settings{Features: map[string]int32{"group.version": 0, "transaction.version": 1}}
	})
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group = 1, "g"
	if got := askAt[*kmsg.ConsumerGroupHeartbeatResponse](t, s, req); got.ErrorCode != 35 {
		t.Errorf("got %+v", got)
	}
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 4, "test", "1"
	got := askAt[*kmsg.ApiVersionsResponse](t, s, versions)
	levels := map[string]int16{}
	for _, f := range got.FinalizedFeatures {
		levels[f.Name] = f.MaxVersionLevel
	}
	if _, there := levels["group.version"]; there || levels["transaction.version"] != 1 {
		t.Errorf("finalized %v", levels)
	}
}

func TestConsumerGroupDescribe(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	held := &coordinatorv1.Ownership{Partitions: []*coordinatorv1.TopicPartitions{
		{TopicId: topic.ID[:], Partitions: []int32{1}}, {TopicId: make([]byte, 16), Partitions: []int32{0}},
	}}
	c.set(&coordinatorv1.DescribeGroupsResponse{Groups: []*coordinatorv1.Group{
		{GroupId: "g", Type: "consumer", State: "Stable", ProtocolName: "uniform", Epoch: 4, AssignmentEpoch: 3, Members: []*coordinatorv1.Member{
			{MemberId: "m", MemberEpoch: 4, MemberType: 1, Subscription: &coordinatorv1.Subscription{Topics: []string{"t"}}, Owned: held, Target: held},
		}},
		{GroupId: "old", Type: "classic"},
	}}, nil)
	for version := range int16(2) {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Version, req.Groups = version, []string{"g", "old"}
		got := askAt[*kmsg.ConsumerGroupDescribeResponse](t, s, req).Groups
		m := got[0].Members[0]
		if got[0].ErrorCode != 0 || got[0].AssignorName != "uniform" || got[0].Epoch != 4 || got[0].AssignmentEpoch != 3 || m.SubscribedTopics[0] != "t" ||
			len(m.Assignment.TopicPartitions) != 1 || m.Assignment.TopicPartitions[0].Topic != "t" || version >= 1 && m.MemberType != 1 {
			t.Errorf("version %d: %+v", version, got[0])
		}
		if got[1].ErrorCode != 69 {
			t.Errorf("version %d: %+v", version, got[1])
		}
	}
}

func TestWithoutACoordinatorItsAPIsAreNotOffered(t *testing.T) {
	s := newFakes(t).gateway(4)
	versions := kmsg.NewPtrApiVersionsRequest()
	for _, k := range askAt[*kmsg.ApiVersionsResponse](t, s, versions).ApiKeys {
		if k.ApiKey == 11 || k.ApiKey == 26 || k.ApiKey == 68 {
			t.Errorf("key %d is offered", k.ApiKey)
		}
	}
	w := dial(t, s.KafkaAddr())
	w.write(kmsg.NewPtrHeartbeatRequest())
	w.closed()
}
