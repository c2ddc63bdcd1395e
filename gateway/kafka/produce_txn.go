package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/guard"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

const (
	// tellsAbortable is the first version whose producers know
	// TRANSACTION_ABORTABLE (KIP-890 part 1).
	tellsAbortable = 11
	// addsByAppending is the first version whose producers leave it to the append
	// to add partitions to a transaction (KIP-890 part 2).
	addsByAppending = 12
)

// checkTransaction finds out whose transaction the transactional batches are
// of: all of one request are of one producer.
func (p *produced) checkTransaction(s *Server, version int16) {
	for i := range p.parts {
		part := &p.parts[i]
		if part.code != 0 || !part.inTxn {
			continue
		}
		h, err := record.ParseHeader(part.header[:])
		switch {
		case s.coordinators == nil || err != nil:
			part.refuse(kerr.InvalidTxnState, "no transaction is open: this cluster has none yet")
		case p.transactionalID == "":
			part.refuse(kerr.TransactionalIDAuthorizationFailed, "a batch of a transaction without a transactional id")
		case p.txn == nil:
			p.txn = &guard.Transaction{ID: p.transactionalID, ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Version: 1}
			if version >= addsByAppending {
				p.txn.Version = 2
			}
		case p.txn.ProducerID != h.ProducerID || p.txn.ProducerEpoch != h.ProducerEpoch:
			p.refuseAll(kerr.InvalidProducerIDMapping, "transactional records of more than one producer")
			return
		}
	}
}

func (p *produced) refuseAll(code *kerr.Error, text string) {
	for i := range p.parts {
		p.parts[i].refuse(code, "%s", text)
	}
}

// translate puts what coordinators say about a transaction into words that a
// producer of that version knows: where it may pass, NOT_ENOUGH_REPLICAS makes
// it try again without looking for another leader.
func (p *produced) translate(version int16) {
	for i := range p.parts {
		part := &p.parts[i]
		if part.code == 0 || !part.inTxn || part.err == nil {
			continue
		}
		switch errcode.ReasonOf(part.err) {
		case errcode.CoordinatorLoading, errcode.CoordinatorUnavailable, errcode.NotCoordinator:
			part.code = kerr.NotEnoughReplicas.Code
		case errcode.ConcurrentTransactions:
			if version < addsByAppending {
				part.code = kerr.NotEnoughReplicas.Code
			}
		case errcode.TransactionAbortable:
			if version < tellsAbortable {
				part.code = kerr.InvalidTxnState.Code
			}
		}
	}
}
