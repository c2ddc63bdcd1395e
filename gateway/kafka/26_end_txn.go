package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// EndTxn commits or aborts a transaction.
//
// Versions 0–5. From 5 on the answer brings the producer's id and epoch for the
// next one (KIP-890).
func endTxnAPI() api {
	return api{
		key: 26, name: "EndTxn", max: 5, flexible: 3, coordinated: true,
		shape: shape{always(aString), always(anInt64), always(anInt16), always(aBool)},
		serve: coded(endTxn),
	}
}

func endTxn(c *conn, ctx context.Context, req *kmsg.EndTxnRequest) *kmsg.EndTxnResponse {
	ask := &coordinatorv1.EndTransactionRequest{
		TransactionalId: req.TransactionalID, ProducerId: req.ProducerID, ProducerEpoch: int32(req.ProducerEpoch), Commit: req.Commit, TransactionVersion: 1,
	}
	if req.Version >= 5 {
		ask.TransactionVersion = 2
	}
	resp := kmsg.NewPtrEndTxnResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID == "" {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	ended, err := c.s.coordinators.EndTransaction(ctx, ask)
	if err != nil {
		resp.ErrorCode = txnCodeOf(err, req.Version, 2)
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = ended.GetProducerId(), int16(ended.GetProducerEpoch())
	return resp
}
