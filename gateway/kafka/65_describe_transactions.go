package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// DescribeTransactions describes transactional ids with their newest
// transaction (KIP-664).
//
// Version 0.
func describeTransactionsAPI() api {
	return api{
		key: 65, name: "DescribeTransactions", max: 0, flexible: 0, coordinated: true,
		shape: shape{list(aString)},
		serve: coded(describeTransactions),
	}
}

func describeTransactions(c *conn, ctx context.Context, req *kmsg.DescribeTransactionsRequest) *kmsg.DescribeTransactionsResponse {
	found, err := c.s.coordinators.DescribeTransactions(ctx, &coordinatorv1.DescribeTransactionsRequest{TransactionalIds: req.TransactionalIDs})
	if err == nil {
		err = sameCount(len(found.GetTransactions()), len(req.TransactionalIDs))
	}
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	for i, id := range req.TransactionalIDs {
		out := kmsg.NewDescribeTransactionsResponseTransactionState()
		out.TransactionalID, out.ErrorCode = id, groupCodeOf(err)
		switch {
		case id == "":
			out.ErrorCode = kerr.InvalidRequest.Code
		case err == nil:
			describeTransaction(&out, found.GetTransactions()[i])
		}
		resp.TransactionStates = append(resp.TransactionStates, out)
	}
	return resp
}

func describeTransaction(out *kmsg.DescribeTransactionsResponseTransactionState, t *coordinatorv1.Transaction) {
	if out.ErrorCode = partCodeOf(t.GetError()); out.ErrorCode != 0 {
		return
	}
	out.State, out.TimeoutMillis, out.StartTimestamp = t.GetState(), t.GetTimeoutMs(), t.GetStartTimeMs()
	out.ProducerID, out.ProducerEpoch = t.GetProducerId(), int16(t.GetProducerEpoch())
	at := map[string]int{}
	for _, p := range t.GetPartitions() {
		i, known := at[p.GetTopic()]
		if !known {
			i = len(out.Topics)
			at[p.GetTopic()] = i
			out.Topics = append(out.Topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: p.GetTopic()})
		}
		out.Topics[i].Partitions = append(out.Topics[i].Partitions, p.GetPartition())
	}
}
