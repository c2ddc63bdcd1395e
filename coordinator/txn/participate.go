package txn

import (
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/errcode"
)

// addParticipants puts what a producer is about to write to into its
// transaction, and opens one where none is (T8); or tells what is in (T7).
func (m *Machine) addParticipants(ticket shard.Ticket, q AddParticipants) {
	t := m.txns[q.ID]
	switch {
	case t == nil || t.Producer.ProducerID != q.Producer.ProducerID:
		m.unmapped(ticket, q.ID, q.Producer)
	case t.Producer != q.Producer:
		m.fenced(ticket, t, q.Producer)
	case t.State.preparing():
		m.concurrent(ticket, t)
	case q.VerifyOnly:
		m.verify(ticket, t, q.Participants)
	default:
		m.add(ticket, t, q)
	}
}

func (m *Machine) unmapped(ticket shard.Ticket, id string, who Identity) {
	m.refuse(ticket, errcode.InvalidProducerMapping, "producer %s is not of %q", who, id)
}

func (m *Machine) verify(ticket shard.Ticket, t *transaction, p Participants) {
	missing := func(in bool, what string) *errcode.Error {
		if in {
			return nil
		}
		return errcode.New(errcode.TransactionAbortable, "the %s was not added to the transaction of %q", what, t.id)
	}
	v := p.verdict(m.epoch)
	for i, x := range p.Partitions {
		v.Partitions[i] = missing(t.Participants.hasPartition(x), "partition")
	}
	for i, x := range p.OffsetShards {
		v.OffsetShards[i] = missing(t.Participants.hasShard(x), "group")
	}
	m.out.Answer(ticket, v)
}

func (m *Machine) add(ticket shard.Ticket, t *transaction, q AddParticipants) {
	if t.State == Ongoing && t.Participants.has(q.Participants) {
		m.out.Answer(ticket, q.Participants.verdict(m.epoch))
		return
	}
	r := *t.Record
	if r.State != Ongoing {
		r.State, r.StartMs, r.Previous, r.Version = Ongoing, m.nowMs, Nobody, 0
	}
	r.Participants = r.Participants.with(q.Participants)
	r.Revision = max(r.Revision, q.Revision)
	if r.Participants.Len() > maxParticipants {
		m.refuse(ticket, errcode.ResourceExhausted, "a transaction may have %d participants", maxParticipants)
		return
	}
	m.write(t, r)
	m.out.Answer(ticket, q.Participants.verdict(m.epoch))
}
