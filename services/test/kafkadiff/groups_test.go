//go:build kafkadiff

package kafkadiff

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groups are steps about groups and their coordinators.
var groups = append([]step{
	{name: "join with a short session", make: join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 })},
	{name: "join with a long session", make: join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 })},
	{name: "join as somebody unknown", make: join(func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" })},
	{name: "join without protocols", make: join(func(r *kmsg.JoinGroupRequest) { r.Protocols, r.MemberID = nil, "" })},
	{name: "join without a type", make: join(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })},
	{name: "join without a group", make: join(func(r *kmsg.JoinGroupRequest) { r.Group = "" })},
	{name: "join and be given an id", from: 4, make: join(func(r *kmsg.JoinGroupRequest) { r.Group = "given" })},
	{name: "heartbeat of an unknown group", make: func(*side) kmsg.Request { return heartbeat("absent", "m", 1) }},
	{name: "heartbeat of an unknown member", make: func(*side) kmsg.Request { return heartbeat("ready", "m", 1) }},
	{name: "heartbeat without a group", make: func(*side) kmsg.Request { return heartbeat("", "m", 1) }},
	{name: "sync with an unknown group", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation = "absent", "m", 1
		req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		return req
	}},
	{name: "leave an unknown group", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = "absent", "m"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {InstanceID: kmsg.StringPtr("i")}}
		return req
	}},
	{name: "commit", make: func(*side) kmsg.Request { return commit("simple", "", -1, "plain", 0) }},
	{name: "commit of a member", make: func(*side) kmsg.Request { return commit("simple", "m", 3, "plain", 0) }},
	{name: "commit of a member of an unknown group", make: func(*side) kmsg.Request { return commit("absent", "m", 3, "plain", 0) }},
	{name: "commit without a group", make: func(*side) kmsg.Request { return commit("", "", -1, "plain", 0) }},
	{name: "commit for the unknown", to: 9, make: func(*side) kmsg.Request { return commit("simple", "", -1, "absent", 0) }},
	{name: "commit for an unknown partition", make: func(*side) kmsg.Request { return commit("simple", "", -1, "plain", 77) }},
	{name: "commit long metadata", make: func(s *side) kmsg.Request {
		req := commit("simple", "", -1, "plain", 0)
		req.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("m", 4097))
		return req
	}},
	{name: "fetch offsets", make: func(s *side) kmsg.Request { return fetchOffsets(s, "simple", "plain", 0, 1, 9) }},
	{name: "fetch offsets of an unknown group", make: func(s *side) kmsg.Request { return fetchOffsets(s, "absent", "plain", 0) }},
	{name: "fetch offsets of the unknown", to: 9, make: func(s *side) kmsg.Request { return fetchOffsets(s, "simple", "absent", 0) }},
	{name: "fetch all offsets", from: 2, make: func(s *side) kmsg.Request {
		req := fetchOffsets(s, "simple", "plain", 0)
		req.Topics, req.Groups[0].Topics = nil, nil
		return req
	}},
	{name: "describe groups", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups, req.IncludeAuthorizedOperations = []string{"simple", "absent", ""}, true
		return req
	}},
	{name: "list groups that are stable", from: 4, make: func(*side) kmsg.Request {
		req := kmsg.NewPtrListGroupsRequest()
		req.StatesFilter = []string{"Stable"}
		return req
	}},
	{name: "list groups of an unknown state", from: 4, make: func(*side) kmsg.Request {
		req := kmsg.NewPtrListGroupsRequest()
		req.StatesFilter, req.TypesFilter = []string{"Sleepy"}, []string{"odd"}
		return req
	}},
	{name: "delete offsets of an unknown group", make: func(*side) kmsg.Request { return deleteOffsets("absent", "plain", 0) }},
	{name: "delete offsets", make: func(*side) kmsg.Request { return deleteOffsets("simple", "plain", 0) }},
	{name: "delete offsets of the unknown", make: func(*side) kmsg.Request { return deleteOffsets("simple", "absent", 0) }},
	{name: "delete groups", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"absent", "", "doomed"}
		return req
	}},
	{name: "describe consumer groups", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Groups = []string{"absent", "simple", ""}
		return req
	}},
	{name: "member heartbeat without a group", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" })},
	{name: "member heartbeat of epoch -3", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 })},
	{name: "member heartbeat without topics", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil })},
	{name: "member heartbeat without a timeout", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 })},
	{name: "member heartbeat with an unknown assignor", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("odd") })},
	{name: "member heartbeat of somebody unknown", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.Group = 5, "absent" })},
	{name: "member heartbeat that leaves an unknown group", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.Group = -1, "absent" })},
	{name: "member heartbeat with a bad expression", from: 1, make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicRegex, r.SubscribedTopicNames = kmsg.StringPtr("("), nil
	})},
	{name: "member heartbeat that owns partitions at first", make: member(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: unknownID, Partitions: []int32{1}}}
	})},
}, coordinators()...)

func coordinators() (list []step) {
	for _, kind := range []int8{0, 1, 2, 3, 9, -1} {
		for _, key := range []string{"", "key"} {
			list = append(list, step{name: fmt.Sprintf("coordinator of kind %d of %q", kind, key), from: 1, make: func(*side) kmsg.Request {
				req := kmsg.NewPtrFindCoordinatorRequest()
				req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, key, []string{key}
				return req
			}})
		}
	}
	return list
}

func join(edit func(*kmsg.JoinGroupRequest)) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "joined", "consumer", 10_000, 10_000
		req.MemberID = "nobody"
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0}}}
		edit(req)
		if req.Group == "given" {
			req.MemberID = ""
		}
		return req
	}
}

func heartbeat(group, member string, generation int32) kmsg.Request {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return req
}

func commit(group, member string, generation int32, topic string, partition int32) *kmsg.OffsetCommitRequest {
	req, t, p := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	req.Group, req.MemberID, req.Generation = group, member, generation
	t.Topic, p.Partition, p.Offset, p.Metadata = topic, partition, 1, kmsg.StringPtr("kept")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func fetchOffsets(s *side, group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req, t := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewOffsetFetchRequestTopic()
	g, gt := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	req.Group, g.Group, t.Topic, gt.Topic, t.Partitions, gt.Partitions, gt.TopicID = group, group, topic, topic, partitions, partitions, s.ids[topic]
	req.Topics, g.Topics = append(req.Topics, t), append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	return req
}

func deleteOffsets(group, topic string, partition int32) kmsg.Request {
	req, t := kmsg.NewPtrOffsetDeleteRequest(), kmsg.NewOffsetDeleteRequestTopic()
	req.Group, t.Topic = group, topic
	t.Partitions = []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}
	req.Topics = append(req.Topics, t)
	return req
}

func member(edit func(*kmsg.ConsumerGroupHeartbeatRequest)) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.RebalanceTimeoutMillis, req.SubscribedTopicNames = "next", "somebody", 10_000, []string{"plain"}
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		edit(req)
		return req
	}
}
