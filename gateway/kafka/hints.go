package kafka

import "slices"

// hint tells a client whom to ask about a partition, so that it need not ask
// for Metadata first (KIP-951).
type hint struct{ leader, epoch int32 }

// write ends a partition of a response with the hint alone.
func (h *hint) write(w *writer, tag uint32) {
	w.uvarint(1) // one tagged field
	w.uvarint(tag)
	w.uvarint(4 + 4 + 1)
	w.int32(h.leader)
	w.int32(h.epoch)
	w.noTags()
}

// endpointsTag holds the brokers of the hints in a Produce or Fetch response.
const endpointsTag = 0

// writeEndpoints ends a response with the addresses of brokers that hints name.
func (b *brokers) writeEndpoints(w *writer, hints []*hint) {
	var named []broker
	for _, h := range hints {
		known := slices.ContainsFunc(named, func(x broker) bool { return x.id == h.leader })
		if x, live := b.find(h.leader); live && !known {
			named = append(named, x)
		}
	}
	nodes := writer{flexible: true}
	nodes.count(len(named))
	for i := range named {
		nodes.int32(named[i].id)
		nodes.string(named[i].host)
		nodes.int32(named[i].port)
		nodes.nullable(named[i].rack)
		nodes.noTags()
	}
	w.uvarint(1) // one tagged field
	w.uvarint(endpointsTag)
	w.uvarint(uint32(len(nodes.b)))
	w.b = append(w.b, nodes.b...)
}
