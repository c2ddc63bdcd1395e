package group

import (
	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// transactionCommit is a CommitTransactionOffsets that waits for the coordinator
// of its transaction to say that the offsets are in it.
type transactionCommit struct {
	ticket shard.Ticket
	q      *coordinatorv1.CommitTransactionOffsetsRequest
	// ended, unless 0, says that a transaction of the producer has ended
	// meanwhile: what the coordinator says then may be about the next one (T7). It
	// is the epoch of the coordinator that said so, and 1.
	ended int64
}

// commitInTransaction serves a CommitTransactionOffsets (T13). The transaction's
// coordinator is asked while the request is noted here, so that an end of the
// transaction which comes in between is seen.
func (m *Machine) commitInTransaction(t shard.Ticket, q *coordinatorv1.CommitTransactionOffsetsRequest) {
	if err := m.checkTransactional(q); err != nil {
		m.out.Refuse(t, err)
		return
	}
	m.calls++
	m.commits[m.calls] = &transactionCommit{ticket: t, q: q}
	m.out.Calls = append(m.out.Calls, shard.Call{ID: m.calls, Message: &coordinatorv1.AddOffsetsRequest{
		TransactionalId: q.GetTransactionalId(), ProducerId: q.GetProducerId(), ProducerEpoch: q.GetProducerEpoch(),
		GroupId: q.GetGroupId(), VerifyOnly: !q.GetImplicitAdd(),
	}})
}

func (m *Machine) checkTransactional(q *coordinatorv1.CommitTransactionOffsetsRequest) error {
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return err
	}
	if q.GetProducerId() < 0 || q.GetProducerEpoch() < 0 {
		return refuse(errcode.InvalidArgument, "producer %d, epoch %d", q.GetProducerId(), q.GetProducerEpoch())
	}
	_, allow, err := m.committer(q.GetGroupId(), commitBy{
		member: q.GetMemberId(), instance: q.GetInstanceId(), epoch: q.GetGeneration(), transactional: true,
	})
	if err != nil {
		return err
	}
	return m.allowAll(allow, q.GetOffsets())
}

// verified comes when a transaction's coordinator has answered.
func (m *Machine) verified(r shard.Result) {
	c := m.commits[r.ID]
	if c == nil {
		panic("group: an answer to a call that was not made")
	}
	delete(m.commits, r.ID)
	err, by := r.Err, int64(0)
	if err == nil {
		by = r.Answer.(*coordinatorv1.AddOffsetsResponse).GetCoordinatorEpoch()
	}
	if err == nil && c.ended > by {
		err = refuse(errcode.InvalidTransactionState, "the transaction has ended")
	}
	if err == nil { // the group may have changed meanwhile
		err = m.checkTransactional(c.q)
	}
	if err != nil {
		m.out.Refuse(c.ticket, err)
		return
	}
	m.out.Answer(c.ticket, m.storePending(c.q, by))
}

// storePending keeps offsets that the transaction's coordinator knows of; by is
// its epoch.
func (m *Machine) storePending(q *coordinatorv1.CommitTransactionOffsetsRequest, by int64) *coordinatorv1.CommitTransactionOffsetsResponse {
	r := &coordinatorv1.CommitTransactionOffsetsResponse{}
	for _, o := range q.GetOffsets() {
		id, x, err := m.newOffset(q.GetGroupId(), o)
		if err == nil && m.offsets.waiting[q.GetProducerId()] > m.maxBytes/2 {
			err = refuse(errcode.ResourceExhausted, "the transaction has all the offsets that one may have")
		}
		if err == nil {
			m.offsets.putPending(q.GetProducerId(), id, pendingOffset{q.GetProducerEpoch(), by, x})
			m.write(journal.Put(kindPending, &coordinatorv1.PendingOffsetRecord{
				ProducerEpoch: q.GetProducerEpoch(), Offset: x.proto(), CoordinatorEpoch: by,
			}, id.pendingKey(q.GetProducerId())...))
		}
		r.Errors = append(r.Errors, partError(err))
	}
	return r
}

// complete serves a CompleteOffsets: the marker of a transaction for the offsets
// of this shard. All of them count from one record batch on, or none ever. A
// marker that comes again finds nothing, and is as good as the first; one that
// comes late from a coordinator before that of a transaction is not of it (T9).
func (m *Machine) complete(q *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	ends := func(epoch int32) bool { // the transactions that this marker ends (T3, T9)
		if q.GetTransactionVersion() >= 2 {
			return epoch < q.GetProducerEpoch()
		}
		return epoch <= q.GetProducerEpoch()
	}
	for _, c := range m.commits {
		if c.q.GetProducerId() == q.GetProducerId() && ends(c.q.GetProducerEpoch()) {
			c.ended = max(c.ended, q.GetCoordinatorEpoch()+1)
		}
	}
	pid := q.GetProducerId()
	for _, id := range sortedOffsets(m.offsets.pending[pid]) {
		p := m.offsets.pending[pid][id]
		if !ends(p.epoch) || q.GetCoordinatorEpoch() < p.coordinator {
			continue
		}
		m.forgetPending(pid, id)
		// Of two commits the later counts, whichever comes to count first.
		if old := m.offsets.get(id); q.GetCommit() && (old == nil || old.order < p.order) {
			if m.groups[id.group] == nil {
				m.groups[id.group] = newClassicGroup(id.group, m.nowMs())
			}
			m.storeOffset(id, p.offset)
		}
	}
	return &coordinatorv1.CompleteOffsetsResponse{}, nil
}
