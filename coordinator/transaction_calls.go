package coordinator

import (
	"context"
	"fmt"

	"moldau.dev/coordinator/markers"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// producerIDBlock is how many producer ids a shard fetches at a time (T5).
const producerIDBlock = 1000

// transactionCalls makes the calls of shards of transactions.
type transactionCalls struct {
	meta   metadataclient.Client
	sender *markers.Sender
}

// Do is a shard's Deps.Do.
func (c *transactionCalls) Do(ctx context.Context, message any) (any, error) {
	switch m := message.(type) {
	case txn.SendMarkers:
		return nil, c.sender.Send(ctx, m)
	case txn.AllocateProducerIDs:
		block, err := c.meta.AllocateProducerIds(ctx, &metadatav1.AllocateProducerIdsRequest{Count: producerIDBlock})
		if err != nil {
			return nil, err
		}
		return txn.ProducerIDs{First: block.GetFirstId(), Count: int64(block.GetCount())}, nil
	default:
		panic(fmt.Sprintf("coordinator: a transaction's call of type %T", m))
	}
}
