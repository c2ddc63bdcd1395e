package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// ConsumerGroupHeartbeat is all of the next-generation protocol of consumer
// groups: joining, living, moving partitions and leaving (KIP-848).
//
// Versions 0–1; from 1 on members choose their id (KIP-1082) and may subscribe
// by expression. While group.version is 0 it is UNSUPPORTED_VERSION.
func consumerGroupHeartbeatAPI() api {
	return api{
		key: 68, name: "ConsumerGroupHeartbeat", max: 1, flexible: 0, coordinated: true,
		shape: shape{
			always(aString), always(aString), always(anInt32), always(aString), always(aString), always(anInt32),
			list(aString), since(1, aString), always(aString), listOf(always(anID), list(anInt32)),
		},
		serve: coded(consumerGroupHeartbeat),
	}
}

func consumerGroupHeartbeat(c *conn, ctx context.Context, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	if err := c.s.consumerProtocol(); err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), textOf(err)
		return resp
	}
	if req.Group == "" {
		resp.ErrorCode, resp.ErrorMessage = kerr.InvalidRequest.Code, kmsg.StringPtr("a group's id is needed")
		return resp
	}
	ask := &coordinatorv1.HeartbeatMemberRequest{
		GroupId: req.Group, MemberId: req.MemberID, MemberEpoch: req.MemberEpoch, InstanceId: req.InstanceID, RackId: req.RackID,
		RebalanceTimeoutMs: req.RebalanceTimeoutMillis, ServerAssignor: req.ServerAssignor,
		ClientId: c.client, ClientHost: c.clientHost(), Legacy: req.Version == 0,
	}
	if req.SubscribedTopicNames != nil || req.SubscribedTopicRegex != nil {
		ask.Subscription = &coordinatorv1.Subscription{
			Topics: req.SubscribedTopicNames, HasTopics: req.SubscribedTopicNames != nil, Regex: req.SubscribedTopicRegex,
		}
	}
	if req.Topics != nil {
		ask.Owned = &coordinatorv1.Ownership{}
		for i := range req.Topics {
			ask.Owned.Partitions = append(ask.Owned.Partitions, &coordinatorv1.TopicPartitions{
				TopicId: req.Topics[i].TopicID[:], Partitions: req.Topics[i].Partitions,
			})
		}
	}
	lives, err := c.s.coordinators.HeartbeatMember(ctx, ask)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = groupCodeOf(err), textOf(err)
		return resp
	}
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = nullable(lives.GetMemberId()), lives.GetMemberEpoch(), lives.GetHeartbeatIntervalMs()
	if lives.GetAssignment() == nil {
		return resp
	}
	resp.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{}
	for _, p := range lives.GetAssignment().GetPartitions() {
		t := kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{Partitions: p.GetPartitions()}
		copy(t.TopicID[:], p.GetTopicId())
		resp.Assignment.Topics = append(resp.Assignment.Topics, t)
	}
	return resp
}
