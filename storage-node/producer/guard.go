package producer

import (
	"math"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// guards are the verifications under way (KIP-890, T7). A guard is given for
// the first batch of a transaction here; the coordinator is asked whether the
// partition is part of the transaction; the batch comes again with the guard
// and opens the transaction, unless a marker or a later epoch came in between.
type guards struct {
	pending     map[int64]*guard // by producer
	first, next int64            // ids of [first, next) were given
}

// maxGuards bounds the verifications under way; the oldest die first.
const maxGuards = 10_000

type guard struct {
	id          int64
	epoch       int16
	leaderEpoch int32
	// lowest is the lowest sequence that waits for the verification. Higher ones
	// stay out until it is in, or it would be out of order for ever.
	lowest  int32
	givenMs int64
}

func newGuards(first int64) guards {
	first = max(first, 1)
	return guards{pending: make(map[int64]*guard), first: first, next: first}
}

// check returns 0 where the batch may open its transaction, or the guard that
// it first must be verified under.
func (g *guards) check(h *record.Header, req Request) (int64, error) {
	p := g.pending[h.ProducerID]
	if p != nil && p.leaderEpoch != req.LeaderEpoch {
		delete(g.pending, h.ProducerID)
		p = nil
	}
	if p != nil && h.ProducerEpoch < p.epoch {
		return 0, fenced(h, p.epoch)
	}
	alive := p != nil && p.id == req.Guard && p.epoch == h.ProducerEpoch
	switch {
	case alive && after(h.BaseSequence, p.lowest):
		return 0, want(h, p.lowest)
	case alive:
		return 0, nil
	case req.Guard >= g.first && req.Guard < g.next:
		return 0, errcode.New(errcode.InvalidTransactionState,
			"the transaction of producer %d, epoch %d, that was verified has ended", h.ProducerID, h.ProducerEpoch)
	}
	// A guard that another leader gave, or this one before it restarted, says
	// nothing here: the batch is verified anew.
	if p == nil || h.ProducerEpoch > p.epoch {
		p = g.give(h, req)
	} else if after(p.lowest, h.BaseSequence) {
		p.lowest = h.BaseSequence
	}
	return p.id, nil
}

func (g *guards) give(h *record.Header, req Request) *guard {
	if len(g.pending) >= maxGuards {
		g.makeRoom()
	}
	p := &guard{id: g.next, epoch: h.ProducerEpoch, leaderEpoch: req.LeaderEpoch, lowest: h.BaseSequence, givenMs: req.NowMs}
	g.next++
	g.pending[h.ProducerID] = p
	return p
}

// after tells whether sequence a comes after b, though they wrap.
func after(a, b int32) bool {
	d := (int64(a) - int64(b)) & math.MaxInt32
	return d != 0 && d < 1<<30
}

// kill ends the verification of a producer: its transaction is open, or ended.
func (g *guards) kill(pid int64) { delete(g.pending, pid) }

func (g *guards) expire(beforeMs int64) {
	for pid, p := range g.pending {
		if p.givenMs < beforeMs {
			delete(g.pending, pid)
		}
	}
}

func (g *guards) makeRoom() {
	all := make([]silent, 0, len(g.pending))
	for pid, p := range g.pending {
		all = append(all, silent{pid, p.givenMs})
	}
	for _, pid := range longest(all, maxGuards/8) {
		delete(g.pending, pid)
	}
}
