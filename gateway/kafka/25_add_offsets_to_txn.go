package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// AddOffsetsToTxn adds the offsets of a group to a transaction, as producers
// before transaction.version 2 do.
//
// Versions 0–4.
func addOffsetsToTxnAPI() api {
	return api{
		key: 25, name: "AddOffsetsToTxn", max: 4, flexible: 3, coordinated: true,
		shape: shape{always(aString), always(anInt64), always(anInt16), always(aString)},
		serve: coded(addOffsetsToTxn),
	}
}

func addOffsetsToTxn(c *conn, ctx context.Context, req *kmsg.AddOffsetsToTxnRequest) *kmsg.AddOffsetsToTxnResponse {
	resp := kmsg.NewPtrAddOffsetsToTxnResponse()
	if req.TransactionalID == "" {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	_, err := c.s.coordinators.AddOffsets(ctx, &coordinatorv1.AddOffsetsRequest{
		TransactionalId: req.TransactionalID, ProducerId: req.ProducerID, ProducerEpoch: int32(req.ProducerEpoch), GroupId: req.Group,
	})
	resp.ErrorCode = txnCodeOf(err, req.Version, 2)
	return resp
}
