package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// SyncGroup hands in the assignment of a classic group, or waits for it.
//
// Versions 0–5. From 5 on type and name of the protocol are to be told
// (KIP-559).
func syncGroupAPI() api {
	return api{
		key: 14, name: "SyncGroup", max: 5, flexible: 4, coordinated: true,
		shape: shape{
			always(aString), always(anInt32), always(aString), since(3, aString), since(5, aString), since(5, aString),
			listOf(always(aString), always(someBytes)),
		},
		serve: waiting(syncGroup),
	}
}

// maxSyncWait bounds how long the assignment of a generation is waited for; the
// coordinator gives up before, by the session timeout of the leader.
const maxSyncWait = 30 * time.Minute

func syncGroup(c *conn, ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		resp.ErrorCode = kerr.InconsistentGroupProtocol.Code
		return resp
	}
	ctx, cancel := c.s.parked(ctx, maxSyncWait)
	defer cancel()
	ask := &coordinatorv1.SyncGroupRequest{
		GroupId: req.Group, Generation: req.Generation, MemberId: req.MemberID, InstanceId: text(req.InstanceID),
		ProtocolType: text(req.ProtocolType), ProtocolName: text(req.Protocol),
	}
	for _, a := range req.GroupAssignment {
		ask.Assignments = append(ask.Assignments, &coordinatorv1.MemberAssignment{MemberId: a.MemberID, Assignment: a.MemberAssignment})
	}
	synced, err := c.s.coordinators.SyncGroup(ctx, ask)
	if err != nil {
		resp.ErrorCode = groupCodeOf(err)
		return resp
	}
	resp.ProtocolType, resp.Protocol, resp.MemberAssignment = &synced.ProtocolType, &synced.ProtocolName, synced.GetAssignment()
	return resp
}
