package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator says that there is none.
//
// Versions 0–6. It is served so that clients hear COORDINATOR_NOT_AVAILABLE
// and why, rather than lose their connection.
//
// Gaps: groups, transactions and share groups.
func findCoordinatorAPI() api {
	return api{
		key: 10, name: "FindCoordinator", max: 6, flexible: 3,
		shape: shape{between(0, 3, aString), since(1, anInt8), list(aString).from(4)},
		serve: coded(findCoordinator),
	}
}

func findCoordinator(_ *conn, _ context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	code, text := kerr.CoordinatorNotAvailable.Code, "this cluster has no coordinator of groups and transactions yet"
	if req.CoordinatorType < 0 || req.CoordinatorType > 2 {
		code, text = kerr.InvalidRequest.Code, "no such kind of coordinator"
	}
	resp := kmsg.NewPtrFindCoordinatorResponse()
	resp.NodeID, resp.Port = -1, -1
	resp.ErrorCode, resp.ErrorMessage = code, &text
	for _, key := range req.CoordinatorKeys {
		out := kmsg.NewFindCoordinatorResponseCoordinator()
		out.Key, out.NodeID, out.Port, out.ErrorCode, out.ErrorMessage = key, -1, -1, code, &text
		resp.Coordinators = append(resp.Coordinators, out)
	}
	return resp
}
