package txn

import (
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/errcode"
)

// lowStock is when the next block of ids is asked for.
const lowStock = 100

// producerIDs are ids that nobody has been given yet. They come in blocks; what
// a machine does not use is lost, and never used twice.
type producerIDs struct {
	blocks []ProducerIDs
	call   uint64   // under way; 0: none
	parked []parked // requests that wait for it
}

type parked struct {
	ticket  shard.Ticket
	message any
}

// nextID takes an id, and asks for more where few are left.
func (m *Machine) nextID() (id int64, ok bool) {
	left := int64(0)
	if p := &m.ids; len(p.blocks) > 0 {
		b := &p.blocks[0]
		id, ok = b.First, true
		if b.First, b.Count = b.First+1, b.Count-1; b.Count == 0 {
			p.blocks = p.blocks[1:]
		}
		for _, b := range p.blocks {
			left += b.Count
		}
	}
	if left < lowStock && m.ids.call == 0 {
		m.ids.call = m.call(AllocateProducerIDs{})
	}
	return id, ok
}

// park keeps a request until ids have come.
func (m *Machine) park(ticket shard.Ticket, message any) {
	m.ids.parked = append(m.ids.parked, parked{ticket, message})
}

func (m *Machine) allocated(r shard.Result) {
	waited := m.ids.parked
	m.ids.call, m.ids.parked = 0, nil
	if r.Err != nil {
		for _, p := range waited {
			m.out.Refuse(p.ticket, errcode.Wrap(r.Err, errcode.CoordinatorUnavailable, "no producer ids are to be had"))
		}
		return
	}
	m.ids.blocks = append(m.ids.blocks, r.Answer.(ProducerIDs))
	for _, p := range waited {
		m.request(p.ticket, p.message)
	}
}
