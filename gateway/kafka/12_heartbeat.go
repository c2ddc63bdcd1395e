package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// Heartbeat keeps a member of a classic group alive.
//
// Versions 0–4.
func heartbeatAPI() api {
	return api{
		key: 12, name: "Heartbeat", max: 4, flexible: 4, coordinated: true,
		shape: shape{always(aString), always(anInt32), always(aString), since(3, aString)},
		serve: coded(heartbeat),
	}
}

func heartbeat(c *conn, ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	_, err := c.s.coordinators.HeartbeatGroup(ctx, &coordinatorv1.HeartbeatGroupRequest{
		GroupId: req.Group, Generation: req.Generation, MemberId: req.MemberID, InstanceId: text(req.InstanceID),
	})
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = groupCodeOf(err)
	return resp
}
