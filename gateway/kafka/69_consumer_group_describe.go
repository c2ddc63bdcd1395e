package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// ConsumerGroupDescribe describes groups of the next-generation protocol.
//
// Versions 0–1; types of members from 1 on. Groups of other kinds are
// GROUP_ID_NOT_FOUND, upon which clients ask DescribeGroups.
func consumerGroupDescribeAPI() api {
	return api{
		key: 69, name: "ConsumerGroupDescribe", max: 1, flexible: 0, coordinated: true,
		shape: shape{list(aString), always(aBool)},
		serve: coded(consumerGroupDescribe),
	}
}

func consumerGroupDescribe(c *conn, ctx context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	off := c.s.consumerProtocol()
	var groups []*coordinatorv1.Group
	if off == nil {
		groups = c.s.groupsOf(ctx, req.Groups)
	}
	for i, name := range req.Groups {
		out := kmsg.NewConsumerGroupDescribeResponseGroup()
		out.Group, out.AuthorizedOperations = name, notAsked
		err := off
		if err == nil && name == "" {
			err = errcode.New(errcode.InvalidGroupID, "a group's id is needed")
		}
		if err == nil {
			err = partError(groups[i].GetError())
		}
		if err == nil && groups[i].GetType() != consumerGroup {
			err = errcode.New(errcode.UnknownGroup, "Group %s is not a consumer group.", name)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = groupCodeOf(err), textOf(err)
		} else {
			describeConsumer(&out, groups[i], c.s.meta.View())
			if req.IncludeAuthorizedOperations {
				out.AuthorizedOperations = groupOperations
			}
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func describeConsumer(out *kmsg.ConsumerGroupDescribeResponseGroup, g *coordinatorv1.Group, view *metadataclient.View) {
	out.State, out.Epoch, out.AssignmentEpoch, out.AssignorName = g.GetState(), g.GetEpoch(), g.GetAssignmentEpoch(), g.GetProtocolName()
	for _, m := range g.GetMembers() {
		member := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		member.MemberID, member.InstanceID, member.RackID = m.GetMemberId(), nullable(m.GetInstanceId()), nullable(m.GetRackId())
		member.MemberEpoch, member.ClientID, member.ClientHost = m.GetMemberEpoch(), m.GetClientId(), m.GetClientHost()
		member.SubscribedTopics, member.SubscribedTopicRegex = m.GetSubscription().GetTopics(), nullable(m.GetSubscription().GetRegex())
		member.Assignment, member.TargetAssignment = named(m.GetOwned(), view), named(m.GetTarget(), view)
		member.MemberType = int8(m.GetMemberType())
		out.Members = append(out.Members, member)
	}
}

// named tells partitions with the names of their topics; those of topics that
// are gone are left out.
func named(held *coordinatorv1.Ownership, view *metadataclient.View) (out kmsg.Assignment) {
	for _, p := range held.GetPartitions() {
		id, err := topicid.FromBytes(p.GetTopicId())
		if t := view.TopicsByID[id]; err == nil && t != nil {
			out.TopicPartitions = append(out.TopicPartitions, kmsg.AssignmentTopicPartition{TopicID: id, Topic: t.Name, Partitions: p.GetPartitions()})
		}
	}
	return out
}
