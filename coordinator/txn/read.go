package txn

import (
	"maps"
	"slices"

	"moldau.dev/coordinator/shard"
)

func (m *Machine) list(ticket shard.Ticket, q List) {
	all := []Listed{}
	for _, id := range slices.Sorted(maps.Keys(m.txns)) {
		if t := m.txns[id]; q.picks(t, m.nowMs) {
			all = append(all, Listed{id, t.Record})
		}
	}
	m.out.Answer(ticket, &all)
}

func (q List) picks(t *transaction, nowMs int64) bool {
	return (len(q.States) == 0 || slices.Contains(q.States, t.State.String())) &&
		(len(q.ProducerIDs) == 0 || slices.Contains(q.ProducerIDs, t.Producer.ProducerID)) &&
		(q.LongerThanMs < 0 || t.StartMs > 0 && nowMs-t.StartMs > q.LongerThanMs) &&
		(q.ID == nil || q.ID.MatchString(t.id))
}

func (m *Machine) describe(ticket shard.Ticket, q Describe) {
	all := make([]Listed, len(q.IDs))
	for i, id := range q.IDs {
		all[i].ID = id
		if t := m.txns[id]; t != nil {
			all[i].Record = t.Record
		}
	}
	m.out.Answer(ticket, &all)
}
