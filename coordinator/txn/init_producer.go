package txn

import (
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/errcode"
)

// initProducer gives a producer its identity, once nothing is open under its
// transactional id (T5, T6, KIP-360).
func (m *Machine) initProducer(ticket shard.Ticket, q InitProducer) {
	switch {
	case q.ID == "":
		if id, ok := m.nextID(); ok {
			m.answer(ticket, Identity{id, 0})
		} else {
			m.park(ticket, q)
		}
		return
	case len(q.ID) > MaxIDBytes:
		m.refuse(ticket, errcode.InvalidArgument, "a transactional id of %d bytes, at most %d are allowed", len(q.ID), MaxIDBytes)
		return
	case q.TimeoutMs <= 0 || q.TimeoutMs > m.cfg.MaxTimeoutMs:
		m.refuse(ticket, errcode.InvalidTransactionTimeout, "a timeout of %d ms, 1 to %d are allowed", q.TimeoutMs, m.cfg.MaxTimeoutMs)
		return
	case (q.Expected.ProducerID < 0) != (q.Expected.Epoch < 0):
		m.refuse(ticket, errcode.InvalidArgument, "a producer id without an epoch, or an epoch without an id")
		return
	}
	t := m.txns[q.ID]
	switch {
	case t == nil:
		m.create(ticket, q)
	case q.continuing() && !t.continuedBy(q.Expected):
		m.fenced(ticket, t, q.Expected)
	case t.State.preparing():
		m.concurrent(ticket, t)
	case t.State == Ongoing:
		m.abortFirst(ticket, t, q)
	default:
		m.renew(ticket, t, q)
	}
}

func (q InitProducer) continuing() bool { return q.Expected.ProducerID >= 0 }

// continuedBy tells whether a producer may go on with what it says it has: it
// is the holder, or was the last one and has not heard what came of its last
// request.
func (r *Record) continuedBy(expected Identity) bool {
	return expected == r.Producer || expected == r.Previous
}

func (m *Machine) create(ticket shard.Ticket, q InitProducer) {
	if len(m.txns) >= maxIDs {
		m.refuse(ticket, errcode.ResourceExhausted, "the coordinator's shard holds %d transactional ids, and no more", maxIDs)
		return
	}
	id, ok := m.nextID()
	if !ok {
		m.park(ticket, q)
		return
	}
	t := &transaction{id: q.ID}
	m.txns[q.ID] = t
	m.write(t, Record{
		State: Empty, Producer: Identity{id, 0}, Previous: Nobody, Marker: Nobody,
		TimeoutMs: q.TimeoutMs, Ended: Ended{Producer: Nobody},
	})
	m.answer(ticket, t.Producer)
}

// abortFirst ends what is open; the producer must ask again. The epoch that a
// fence leaves behind is never handed out: who asks again gets the one after.
func (m *Machine) abortFirst(ticket shard.Ticket, t *transaction, q InitProducer) {
	how := ending{by: ByFence, version: 2}
	if q.Expected == t.Producer {
		how.by = ByProducer // it gives its own transaction up, and may go on
	}
	if !m.end(t, how) {
		m.park(ticket, q)
		return
	}
	m.refuse(ticket, errcode.ConcurrentTransactions, "the transaction that was open under %q is aborted first", q.ID)
}

// renew gives the id to the producer that asks, under the next epoch; one that
// repeats itself gets what it was given.
func (m *Machine) renew(ticket shard.Ticket, t *transaction, q InitProducer) {
	r := *t.Record
	if !q.continuing() || q.Expected == r.Producer {
		next, ok := m.successor(r.Producer)
		if !ok {
			m.park(ticket, q)
			return
		}
		r.Previous, r.Producer = q.Expected, next
	}
	r.State, r.Version, r.TimeoutMs, r.StartMs = Empty, 0, q.TimeoutMs, 0
	m.write(t, r)
	m.answer(ticket, r.Producer)
}

// successor is the identity after i: its next epoch, or where there is none a
// new id (T5). False means that ids have to come first.
func (m *Machine) successor(i Identity) (Identity, bool) {
	if !i.exhausted() {
		return i.raised(), true
	}
	id, ok := m.nextID()
	return Identity{id, 0}, ok
}

func (m *Machine) concurrent(ticket shard.Ticket, t *transaction) {
	m.refuse(ticket, errcode.ConcurrentTransactions, "a transaction of %q is still under way", t.id)
}

func (m *Machine) fenced(ticket shard.Ticket, t *transaction, who Identity) {
	m.refuse(ticket, errcode.ProducerFenced, "producer %s does not hold %q any more", who, t.id)
}
