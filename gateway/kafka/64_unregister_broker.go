package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// UnregisterBroker forgets a storage node that is out of service and holds no
// replica (KIP-631). Gateways need no forgetting: what falls silent is not
// shown.
//
// Version 0.
func unregisterBrokerAPI() api {
	return api{
		key: 64, name: "UnregisterBroker", max: 0, flexible: 0,
		shape: shape{always(anInt32)},
		serve: coded(unregisterBroker),
	}
}

func unregisterBroker(c *conn, ctx context.Context, req *kmsg.UnregisterBrokerRequest) *kmsg.UnregisterBrokerResponse {
	gone, err := c.s.meta.RemoveNode(ctx, &metadatav1.RemoveNodeRequest{NodeId: req.BrokerID})
	if err == nil {
		c.s.follow(ctx, gone.GetRevision(), false)
	}
	resp := kmsg.NewPtrUnregisterBrokerResponse()
	resp.ErrorCode, resp.ErrorMessage = adminCodeOf(err), textOf(err)
	return resp
}
