package txn

import (
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/errcode"
)

// endTransaction decides how a transaction ends (T3), or tells a producer that
// repeats itself how it did (T4).
func (m *Machine) endTransaction(ticket shard.Ticket, q EndTransaction) {
	t := m.txns[q.ID]
	switch {
	case q.Force:
		m.forceAbort(ticket, t, q)
		return
	case t == nil:
		m.unmapped(ticket, q.ID, q.Producer)
		return
	}
	switch holder, again := q.Producer == t.Producer, t.repeats(q.Producer); {
	case again:
		m.tellEnd(ticket, t, q)
	case !holder && q.Producer.ProducerID != t.Producer.ProducerID && q.Producer.ProducerID != t.Ended.Producer.ProducerID:
		m.unmapped(ticket, q.ID, q.Producer)
	case !holder:
		m.fenced(ticket, t, q.Producer)
	case t.State.preparing():
		m.concurrent(ticket, t)
	case t.State == Ongoing || q.AllowEmpty || !q.Commit && q.Version >= 2:
		m.endOpen(ticket, t, q, ending{by: ByProducer, version: q.Version, commit: q.Commit})
	default:
		m.refuse(ticket, errcode.InvalidTransactionState, "no transaction of %q is open", q.ID)
	}
}

// repeats tells whether who ended the transaction that ended last, and has not
// been heard of since. Under version 1 it then still has the identity that it
// goes on with.
func (r *Record) repeats(who Identity) bool {
	return r.State.decided() && who == r.Ended.Producer && (who != r.Producer || r.Version == 1)
}

// tellEnd repeats the answer to an end that has been decided (T4).
func (m *Machine) tellEnd(ticket shard.Ticket, t *transaction, q EndTransaction) {
	ended := t.Ended
	// An end that the coordinator made has raised the epoch: a producer hears of
	// the new one here only if it may go on and its protocol can tell it.
	lost := ended.By == ByFence || ended.By == ByTimeout && q.Version < 2
	switch same := q.Commit == ended.Commit; {
	case lost || !same && ended.By != ByProducer:
		m.fenced(ticket, t, q.Producer) // KAFKA-20785
	case !same:
		m.refuse(ticket, errcode.InvalidTransactionState, "the transaction of %q has ended the other way: %s", t.id, t.State)
	default:
		m.answer(ticket, t.Producer)
	}
}

// forceAbort ends what is open for an operator.
func (m *Machine) forceAbort(ticket shard.Ticket, t *transaction, q EndTransaction) {
	switch {
	case t == nil:
		m.refuse(ticket, errcode.UnknownTransaction, "no transactional id %q is known", q.ID)
	case t.State == PrepareAbort:
		m.answer(ticket, t.Producer) // as good as done
	case t.State != Ongoing:
		m.refuse(ticket, errcode.InvalidTransactionState, "no transaction of %q can be aborted: its state is %s", q.ID, t.State)
	default:
		m.endOpen(ticket, t, q, ending{by: ByFence, version: 2})
	}
}

func (m *Machine) endOpen(ticket shard.Ticket, t *transaction, q EndTransaction, how ending) {
	if !m.end(t, how) {
		m.park(ticket, q)
		return
	}
	m.answer(ticket, t.Producer)
}

// ending is how a transaction shall end. Ends that the coordinator makes are of
// version 2: they raise the epoch, so that what is late is refused.
type ending struct {
	by      EndedBy
	version int8
	commit  bool
}

// end decides. False means that producer ids have to come first, and nothing
// was done.
func (m *Machine) end(t *transaction, how ending) bool {
	r := *t.Record
	holder := r.Producer
	if how.version >= 2 {
		next, ok := m.successor(holder)
		if !ok {
			return false
		}
		r.Producer, r.Previous, r.Marker, r.Version = next, holder, holder.raised(), 2
	} else {
		r.Marker, r.Version = holder, 1
	}
	if how.by == ByFence {
		r.Previous = Nobody
	}
	r.State = PrepareAbort
	if how.commit {
		r.State = PrepareCommit
	}
	if t.State != Ongoing {
		r.StartMs = m.nowMs // nothing was added to it
	}
	r.Ended = Ended{holder, how.commit, how.by}
	m.write(t, r)
	m.sendMarkers(t)
	return true
}

// sendMarkers has all participants of a decided transaction told how it ends,
// once the decision is durable.
func (m *Machine) sendMarkers(t *transaction) {
	if t.Participants.Len() == 0 {
		m.complete(t)
		return
	}
	m.calls[m.call(SendMarkers{
		ID: t.id, Producer: t.Marker, CoordinatorEpoch: m.epoch, Version: t.Version, Commit: t.State == PrepareCommit,
		Participants: t.Participants, Revision: t.Revision,
	})] = t.id
}

// complete notes that all know how it ended.
func (m *Machine) complete(t *transaction) {
	r := *t.Record
	r.State = CompleteAbort
	if t.State == PrepareCommit {
		r.State = CompleteCommit
	}
	r.Marker, r.Participants, r.Revision = Nobody, Participants{}, 0
	m.write(t, r)
}
