package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// LeaveGroup takes members out of a group.
//
// Versions 0–5. One member by id up to version 2; from 3 on many, by id or
// instance id, each with an error of its own.
func leaveGroupAPI() api {
	return api{
		key: 13, name: "LeaveGroup", max: 5, flexible: 4, coordinated: true,
		shape: shape{
			always(aString), between(0, 2, aString), listOf(always(aString), always(aString), since(5, aString)).from(3),
		},
		serve: coded(leaveGroup),
	}
}

func leaveGroup(c *conn, ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	if req.Version < 3 {
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	ask := &coordinatorv1.LeaveGroupRequest{GroupId: req.Group}
	for _, m := range req.Members {
		ask.Members = append(ask.Members, &coordinatorv1.LeavingMember{MemberId: m.MemberID, InstanceId: text(m.InstanceID), Why: text(m.Reason)})
	}
	resp := kmsg.NewPtrLeaveGroupResponse()
	left, err := c.s.coordinators.LeaveGroup(ctx, ask)
	if err == nil {
		err = sameCount(len(left.GetErrors()), len(req.Members))
	}
	noGroup := errcode.Is(err, errcode.UnknownMember) // told of each member
	if err != nil && !noGroup {
		resp.ErrorCode = groupCodeOf(err)
		return resp
	}
	for i, m := range req.Members {
		code := groupCodeOf(err)
		if !noGroup {
			code = partCodeOf(left.GetErrors()[i])
		}
		if req.Version < 3 {
			resp.ErrorCode = code
		}
		resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{MemberID: m.MemberID, InstanceID: m.InstanceID, ErrorCode: code})
	}
	return resp
}
