package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// JoinGroup joins a classic group, and is answered when the generation has
// formed.
//
// Versions 0–9. Members without an id are given one and must come again from
// version 4 on (KIP-394), unless they are static (5 on, KIP-345); 9 tells a
// leader that comes back to skip its assignment (KIP-814).
func joinGroupAPI() api {
	return api{
		key: 11, name: "JoinGroup", max: 9, flexible: 6, coordinated: true,
		shape: shape{
			always(aString), always(anInt32), since(1, anInt32), always(aString), since(5, aString), always(aString),
			listOf(always(aString), always(someBytes)), since(8, aString),
		},
		serve: waiting(joinGroup),
	}
}

func joinGroup(c *conn, ctx context.Context, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	if req.Version == 0 {
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	ctx, cancel := c.s.parked(ctx, time.Duration(max(req.RebalanceTimeoutMillis, req.SessionTimeoutMillis, 0))*time.Millisecond+c.s.cfg.CallTimeout)
	defer cancel()
	ask := &coordinatorv1.JoinGroupRequest{
		GroupId: req.Group, MemberId: req.MemberID, InstanceId: text(req.InstanceID), ClientId: c.client, ClientHost: c.clientHost(),
		SessionTimeoutMs: req.SessionTimeoutMillis, RebalanceTimeoutMs: req.RebalanceTimeoutMillis, ProtocolType: req.ProtocolType,
		RequireKnownMember: req.Version >= 4 && req.InstanceID == nil, Why: text(req.Reason), SupportsSkippingAssignment: req.Version >= 9,
	}
	for _, p := range req.Protocols {
		ask.Protocols = append(ask.Protocols, &coordinatorv1.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	joined, err := c.s.coordinators.JoinGroup(ctx, ask)
	if err != nil {
		return refuseJoin(req, err)
	}
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Generation, resp.ProtocolType, resp.Protocol = joined.GetGeneration(), &joined.ProtocolType, &joined.ProtocolName
	resp.LeaderID, resp.MemberID, resp.SkipAssignment = joined.GetLeaderId(), joined.GetMemberId(), joined.GetSkipAssignment()
	for _, m := range joined.GetMembers() {
		resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{
			MemberID: m.GetMemberId(), InstanceID: nullable(m.GetInstanceId()), ProtocolMetadata: m.GetMetadata(),
		})
	}
	return resp
}

func refuseJoin(req *kmsg.JoinGroupRequest, err error) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.Generation, resp.MemberID = groupCodeOf(err), -1, req.MemberID
	if given := errcode.Of(err).Metadata["member_id"]; errcode.Is(err, errcode.MemberIDRequired) && given != "" {
		resp.MemberID = given
	}
	if req.Version < 7 {
		resp.Protocol = new(string) // not nullable
	}
	return resp
}
