package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// InitProducerId hands out producer ids for idempotence.
//
// Versions 0–5. As in Kafka, a producer without a transactional id always gets
// a new id at epoch 0, also where it names the one it has (KIP-360).
//
// Gaps: transactions. A transactional id is told COORDINATOR_NOT_AVAILABLE.
func initProducerIDAPI() api {
	return api{
		key: 22, name: "InitProducerId", max: 5, flexible: 2,
		shape: shape{always(aString), always(anInt32), since(3, anInt64), since(3, anInt16)},
		serve: coded(initProducerID),
	}
}

func initProducerID(c *conn, ctx context.Context, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch id := req.TransactionalID; {
	case id != nil && *id == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	case id != nil:
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return resp
	}
	id, err := c.s.ids.next(ctx)
	if err != nil {
		// Producers ask again; of NOT_CONTROLLER they would not know what to think.
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

// producerIDBlock is how many producer ids are fetched at a time.
const producerIDBlock = 1000

// producerIDs hands out producer ids, never one twice.
type producerIDs struct {
	meta metadataclient.Client

	mu        sync.Mutex
	from, end int64
}

func newProducerIDs(meta metadataclient.Client) *producerIDs { return &producerIDs{meta: meta} }

func (p *producerIDs) next(ctx context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from == p.end {
		block, err := p.meta.AllocateProducerIds(ctx, &metadatav1.AllocateProducerIdsRequest{Count: producerIDBlock})
		if err != nil {
			return 0, err
		}
		p.from, p.end = block.GetFirstId(), block.GetFirstId()+int64(block.GetCount())
	}
	p.from++
	return p.from - 1, nil
}
