package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// ListTransactions lists the transactional ids that FindCoordinator sends to
// this broker; clients ask every broker.
//
// Versions 0–2, with filters by duration from 1 (KIP-994) and by id from 2 on
// (KIP-1152). States that are none are told back, and match nothing.
func listTransactionsAPI() api {
	return api{
		key: 66, name: "ListTransactions", max: 2, flexible: 0, coordinated: true,
		shape: shape{list(aString), list(anInt64), since(1, anInt64), since(2, aString)},
		serve: coded(listTransactions),
	}
}

var transactionStates = []string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
}

func listTransactions(c *conn, ctx context.Context, req *kmsg.ListTransactionsRequest) *kmsg.ListTransactionsResponse {
	resp := kmsg.NewPtrListTransactionsResponse()
	ask := &coordinatorv1.ListTransactionsRequest{ProducerIds: req.ProducerIDFilters, LongerThanMs: -1, IdPattern: text(req.TransactionalIDPattern)}
	if req.Version >= 1 {
		ask.LongerThanMs = req.DurationFilterMillis
	}
	for _, state := range req.StateFilters {
		if slices.Contains(transactionStates, state) {
			ask.States = append(ask.States, state)
		} else {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, state)
		}
	}
	if len(ask.States) == 0 && len(req.StateFilters) > 0 {
		return resp
	}
	found, err := c.s.coordinators.ListTransactions(ctx, ask)
	if err != nil {
		resp.ErrorCode = groupCodeOf(err)
		return resp
	}
	own := c.s.brokers().ownShards(c.s.cfg.NodeID)
	if slices.ContainsFunc(found.GetLoadingShards(), own.has) {
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	}
	for _, t := range found.GetTransactions() {
		if own.hasID(t.GetTransactionalId()) {
			resp.TransactionStates = append(resp.TransactionStates, kmsg.ListTransactionsResponseTransactionState{
				TransactionalID: t.GetTransactionalId(), ProducerID: t.GetProducerId(), TransactionState: t.GetState(),
			})
		}
	}
	return resp
}
