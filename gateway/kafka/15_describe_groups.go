package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// DescribeGroups describes classic groups.
//
// Versions 0–6. A group that is not there, or not classic, is dead up to
// version 5 and GROUP_ID_NOT_FOUND from 6 on (KIP-1043).
func describeGroupsAPI() api {
	return api{
		key: 15, name: "DescribeGroups", max: 6, flexible: 5, coordinated: true,
		shape: shape{list(aString), since(3, aBool)},
		serve: coded(describeGroups),
	}
}

const (
	classicGroup  = "classic"
	consumerGroup = "consumer"
	deadGroup     = "Dead"
	// groupOperations are all that there are, as bits of Kafka's AclOperation:
	// nothing is denied yet.
	groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)

func describeGroups(c *conn, ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	groups := c.s.groupsOf(ctx, req.Groups)
	for i, name := range req.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group, out.AuthorizedOperations = name, notAsked
		g := groups[i]
		err := partError(g.GetError())
		if err == nil && g.GetType() != classicGroup {
			err = errcode.New(errcode.UnknownGroup, "Group %s is not a classic group.", name)
		}
		switch {
		case errcode.Is(err, errcode.UnknownGroup) && req.Version < 6:
			out.State = deadGroup
		case err != nil:
			out.State, out.ErrorCode, out.ErrorMessage = deadGroup, groupCodeOf(err), textOf(err)
			if out.ErrorCode != kerr.GroupIDNotFound.Code {
				out.State = ""
			}
		default:
			describeClassic(&out, g)
		}
		if req.IncludeAuthorizedOperations && err == nil {
			out.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

// groupsOf asks for groups; each has an error where it could not be had.
func (s *Server) groupsOf(ctx context.Context, ids []string) []*coordinatorv1.Group {
	found, err := s.coordinators.DescribeGroups(ctx, &coordinatorv1.DescribeGroupsRequest{GroupIds: ids})
	if err == nil {
		err = sameCount(len(found.GetGroups()), len(ids))
	}
	if err == nil {
		return found.GetGroups()
	}
	failed := make([]*coordinatorv1.Group, len(ids))
	for i, id := range ids {
		failed[i] = &coordinatorv1.Group{GroupId: id, Error: &coordinatorv1.PartError{Reason: string(errcode.ReasonOf(err)), Message: errcode.Of(err).Message}}
	}
	return failed
}

func describeClassic(out *kmsg.DescribeGroupsResponseGroup, g *coordinatorv1.Group) {
	out.State, out.ProtocolType, out.Protocol = g.GetState(), g.GetProtocolType(), g.GetProtocolName()
	for _, m := range g.GetMembers() {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.GetMemberId(), nullable(m.GetInstanceId())
		member.ClientID, member.ClientHost = m.GetClientId(), m.GetClientHost()
		member.ProtocolMetadata, member.MemberAssignment = m.GetMetadata(), m.GetAssignment()
		out.Members = append(out.Members, member)
	}
}
