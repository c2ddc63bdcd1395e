package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// DeleteGroups deletes groups without members, and their offsets (KIP-229).
//
// Versions 0–2.
func deleteGroupsAPI() api {
	return api{
		key: 42, name: "DeleteGroups", max: 2, flexible: 2, coordinated: true,
		shape: shape{list(aString)},
		serve: coded(deleteGroups),
	}
}

func deleteGroups(c *conn, ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	gone, err := c.s.coordinators.DeleteGroups(ctx, &coordinatorv1.DeleteGroupsRequest{GroupIds: req.Groups})
	if err == nil {
		err = sameCount(len(gone.GetErrors()), len(req.Groups))
	}
	resp := kmsg.NewPtrDeleteGroupsResponse()
	for i, name := range req.Groups {
		out := kmsg.NewDeleteGroupsResponseGroup()
		out.Group, out.ErrorCode = name, groupCodeOf(err)
		if err == nil {
			out.ErrorCode = partCodeOf(gone.GetErrors()[i])
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}
