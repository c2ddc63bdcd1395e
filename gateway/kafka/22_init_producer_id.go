package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// InitProducerId hands out producer ids, and with a transactional id ends what
// the producer before left open.
//
// Versions 0–5. As in Kafka, a producer without a transactional id always gets
// a new id at epoch 0, also where it names the one it has; one with a
// transactional id goes on where id and epoch are its own (3 on, KIP-360).
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
	case id != nil && c.s.coordinators == nil:
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return resp
	case id != nil:
		c.s.initTransactional(ctx, req, resp)
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

func (s *Server) initTransactional(ctx context.Context, req *kmsg.InitProducerIDRequest, resp *kmsg.InitProducerIDResponse) {
	ask := &coordinatorv1.InitProducerRequest{
		TransactionalId: *req.TransactionalID, TransactionTimeoutMs: req.TransactionTimeoutMillis, ProducerId: -1, ProducerEpoch: -1,
	}
	if req.Version >= 3 {
		ask.ProducerId, ask.ProducerEpoch = req.ProducerID, int32(req.ProducerEpoch)
	}
	got, err := s.coordinators.InitProducer(ctx, ask)
	if err != nil {
		resp.ErrorCode = txnCodeOf(err, req.Version, 4)
		return
	}
	resp.ProducerID, resp.ProducerEpoch = got.GetProducerId(), int16(got.GetProducerEpoch())
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
