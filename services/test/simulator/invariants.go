package simulator

import (
	"encoding/binary"
	"fmt"
	"slices"

	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/cluster"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/replication"
)

// part is what the world knows to be true of a partition, whoever leads it.
type part struct {
	// facts are the committed records, by offset: once one is there it never
	// changes (invariants 1 and 2).
	facts   []fact
	leaders map[int32]int32    // node by leader epoch (invariant 7)
	nextSeq map[int64]sequence // by producer (invariant 14)
	latest  int64              // newest offset that anybody was told (invariant 8)
	stable  int64              // newest last stable offset that anybody was told
	acked   int

	// What transactions did here, by what is committed.
	open    map[int64][]int64 // offsets of each producer's open transaction
	ends    map[int64]int16   // epoch of each producer's last marker
	verdict []verdict         // of each fact
}

// sequence is what a producer's next batch begins with in its newest epoch.
type sequence struct {
	epoch int16
	next  int32
}

// fact is one record, as all replicas have it.
type fact struct {
	epoch    int32 // the leader's
	kind     factKind
	producer txn.Identity
	value    int64
}

type factKind int8

const (
	plain factKind = iota
	transactional
	committed // the marker
	aborted
)

// factOf is what a record says. Of records of journals it is a hash.
func factOf(batch []byte, h *record.Header, x *record.Record) fact {
	f := fact{epoch: h.LeaderEpoch, producer: txn.Identity{ProducerID: h.ProducerID, Epoch: h.ProducerEpoch}}
	switch {
	case h.Control():
		f.kind = aborted
		if c, err := record.ParseControl(batch); err == nil && c.Type == record.Commit {
			f.kind = committed
		}
	case h.Transactional():
		f.kind = transactional
	}
	if f.kind < committed && len(x.Key) == 0 && len(x.Value) == 8 {
		f.value = int64(binary.BigEndian.Uint64(x.Value))
		return f
	}
	sum := newHash()
	for _, b := range [][]byte{x.Key, x.Value} {
		sum.add(uint64(len(b)))
		for _, c := range b {
			sum.add(uint64(c))
		}
	}
	f.value = int64(sum)
	return f
}

// Violation is a broken invariant.
type Violation struct{ Text string }

func (w *World) fail(format string, args ...any) {
	panic(Violation{fmt.Sprintf(format, args...)})
}

// facts calls do with each record of a replica's log in [from, to).
func (r *replica) facts(from, to int64, do func(offset int64, f fact, h *record.Header)) {
	r.each(from, to, func(batch []byte, h *record.Header) {
		err := record.ForEach(batch, record.DefaultLimits(), func(x *record.Record) error {
			if x.Offset >= from && x.Offset < to {
				do(x.Offset, factOf(batch, h, x), h)
			}
			return nil
		})
		if err != nil {
			r.n.w.fail("node %d, partition %d: %v", r.n.id, r.part, err)
		}
	})
}

// agrees holds a replica's log in [from, to) against what is committed.
func (r *replica) agrees(from, to int64, when string) {
	p := r.n.w.parts[r.part]
	next := from
	r.facts(from, min(to, int64(len(p.facts))), func(offset int64, f fact, _ *record.Header) {
		if offset != next || p.facts[offset] != f {
			r.n.w.fail("%s: node %d, partition %d has %v at offset %d, committed is %v (invariants 2, 3)", when, r.n.id, r.part, f, offset, p.facts[offset])
		}
		next++
	})
	if next != min(to, int64(len(p.facts))) {
		r.n.w.fail("%s: node %d, partition %d lacks offset %d, which is committed (invariants 3, 4)", when, r.n.id, r.part, next)
	}
}

// checkAdvance sees every move of every high watermark.
func (w *World) checkAdvance(r *replica, hw int64) {
	p, end := w.parts[r.part], r.log.EndOffset()
	if hw < r.hw || hw > end {
		w.fail("node %d, partition %d: high watermark %d after %d, the log ends at %d (invariants 8, 9)", r.n.id, r.part, hw, r.hw, end)
	}
	if r.leader == nil {
		if hw > int64(len(p.facts)) {
			w.fail("follower %d, partition %d: high watermark %d, committed are %d (invariant 9)", r.n.id, r.part, hw, len(p.facts))
		}
		r.agrees(r.hw, hw, "a follower's high watermark")
		return
	}
	if w.durable && hw > r.log.DurableEnd() {
		w.fail("leader %d, partition %d: high watermark %d beyond what is fsynced, %d (R15)", r.n.id, r.part, hw, r.log.DurableEnd())
	}
	r.agrees(r.hw, min(hw, int64(len(p.facts))), "a leader's high watermark")
	if hw <= int64(len(p.facts)) {
		return
	}
	r.facts(int64(len(p.facts)), hw, func(offset int64, f fact, h *record.Header) {
		w.checkOrder(r.part, offset, h)
		p.facts = append(p.facts, f)
		w.decide(r.part, offset, f)
	})
	w.note("committed", int(r.n.id), r.part, int(hw))
	w.checkCandidates(w.consul.value, r.part)
}

// checkOrder sees each record as it is committed: those of a producer come in
// the order of their sequences, each once (invariant 14).
func (w *World) checkOrder(n int, offset int64, h *record.Header) {
	p := w.parts[n]
	if !h.Idempotent() || h.Control() {
		return
	}
	seq, want := h.BaseSequence+int32(offset-h.BaseOffset), p.nextSeq[h.ProducerID]
	if h.ProducerEpoch > want.epoch {
		want = sequence{epoch: h.ProducerEpoch}
	}
	if h.ProducerEpoch < want.epoch || seq != want.next {
		w.fail("partition %d, offset %d: sequence %d of producer %d, epoch %d; %v is next (invariant 14)", n, offset, seq, h.ProducerID, h.ProducerEpoch, want)
	}
	p.nextSeq[h.ProducerID] = sequence{want.epoch, seq + 1}
}

// checkCandidates: whoever may be made the leader holds all that is committed,
// also if its machine loses its power now (invariants 5 and 6, R15).
func (w *World) checkCandidates(i *image, n int) {
	p, st := w.parts[n], i.parts[n]
	for _, id := range slices.Concat(st.Isr, st.Elr) {
		has, known := w.holds(id, n)
		if known && has < int64(len(p.facts)) {
			w.fail("partition %d: node %d may be elected (isr %v, elr %v) and has %d of %d committed records (invariants 5, 6)", n, id, st.Isr, st.Elr, has, len(p.facts))
		}
	}
}

// holds is how far a node's log surely reaches, whatever happens next; where a
// topic relies on page caches that is not known of a node that is down.
func (w *World) holds(id int32, n int) (end int64, known bool) {
	node := w.nodes[id]
	switch {
	case !node.proc.up:
		return w.promised[id][n], w.durable
	case len(node.replicas) <= n:
		return 0, false // it is starting
	case w.durable:
		return node.replicas[n].log.DurableEnd(), true
	case node.epoch == 0:
		return 0, false // its registration will tell that it has lost something
	}
	return node.replicas[n].log.EndOffset(), true
}

// checkCommit sees every state that the controllers make durable.
func (w *World) checkCommit(i *image) {
	for n := range i.parts {
		a, b := w.truth.parts[n], i.parts[n]
		switch {
		case b.LeaderEpoch < a.LeaderEpoch || b.PartitionEpoch < a.PartitionEpoch || b.PartitionEpoch == a.PartitionEpoch && a != b,
			a.Leader != b.Leader && a.LeaderEpoch == b.LeaderEpoch:
			w.fail("partition %d: %v became %v (invariant 7)", n, a, b)
		case b.Leader != cluster.NoLeader && !slices.Contains(b.Isr, b.Leader):
			w.fail("partition %d: leader %d is not in sync: %v (invariant 10)", n, b.Leader, b.Isr)
		case len(b.Isr) >= int(b.MinInsyncReplicas) && len(b.Elr) > 0:
			w.fail("partition %d: isr %v and elr %v (invariant 11)", n, b.Isr, b.Elr)
		}
		for _, id := range b.Isr {
			if slices.Contains(b.Elr, id) || !slices.Contains(b.Replicas, id) || !i.live(id) {
				w.fail("partition %d: node %d is in isr %v, elr %v (invariants 10, 11)", n, id, b.Isr, b.Elr)
			}
		}
		w.checkCandidates(i, n)
	}
	w.truth = i
}

// checkAltered sees each change of in-sync replicas that a leader asked for and
// gets: it speaks of the partition as it is, and of nodes as they are (invariant
// 10, R9).
func (w *World) checkAltered(before *image, c *cluster.AlterPartitions) {
	for i, ask := range c.Partitions {
		if c.Results[i].GetError() != nil {
			continue
		}
		p := before.parts[ask.Partition]
		if p.Leader != c.NodeID || ask.LeaderEpoch != p.LeaderEpoch || ask.PartitionEpoch != p.PartitionEpoch {
			w.fail("partition %d: node %d changes %v by leader epoch %d, partition epoch %d (invariant 10)",
				ask.Partition, c.NodeID, p, ask.LeaderEpoch, ask.PartitionEpoch)
		}
		for _, m := range ask.Isr {
			if !before.live(m.NodeId) || before.state.Nodes[m.NodeId].NodeEpoch != m.NodeEpoch {
				w.fail("partition %d: node %d of epoch %d is taken for in sync, and is %v (invariant 10)",
					ask.Partition, m.NodeId, m.NodeEpoch, before.state.Nodes[m.NodeId])
			}
		}
	}
}

// checkLeader sees each replica that begins to lead (invariants 4 and 7).
func (w *World) checkLeader(r *replica) {
	p := w.parts[r.part]
	if other, ok := p.leaders[r.epoch]; ok && other != r.n.id {
		w.fail("partition %d: nodes %d and %d lead in epoch %d (invariant 7)", r.part, other, r.n.id, r.epoch)
	}
	p.leaders[r.epoch] = r.n.id
	if r.epoch == w.truth.parts[r.part].LeaderEpoch { // else it hears of its lead when that is over
		r.agrees(0, int64(len(p.facts)), "a new leader")
	}
}

// checkTruncate sees each cut: nothing that is committed goes (invariant 12).
func (w *World) checkTruncate(r *replica, t replication.Truncate) {
	p := w.parts[r.part]
	w.note("truncate", int(r.n.id), r.part, int(t.To))
	if t.BelowHW {
		w.fail("node %d, partition %d cuts to %d, below its high watermark %d (invariant 12)", r.n.id, r.part, t.To, r.hw)
	}
	r.facts(t.To, min(r.log.EndOffset(), int64(len(p.facts))), func(offset int64, f fact, _ *record.Header) {
		if p.facts[offset] == f {
			w.fail("node %d, partition %d cuts offset %d, which is committed (invariant 12)", r.n.id, r.part, offset)
		}
	})
}

// checkRecovered sees what a start finds (invariant 28).
func (w *World) checkRecovered(r *replica) {
	promised := &w.promised[r.n.id][r.part]
	if r.log.EndOffset() < *promised {
		w.fail("node %d, partition %d: the log ends at %d, %d was durable (invariant 28)", r.n.id, r.part, r.log.EndOffset(), *promised)
	}
}

// checkNodeEpoch sees each epoch that is granted (invariant 16).
func (w *World) checkNodeEpoch(node int32, epoch int64) {
	if epoch <= w.nodeEpochs[node] {
		w.fail("node %d is granted epoch %d after %d (invariant 16)", node, epoch, w.nodeEpochs[node])
	}
	w.nodeEpochs[node] = epoch
}

// acked is an acknowledgement: what it is for is committed, there (invariant 1).
func (w *World) acked(n int, offset int64, values []int64) {
	p := w.parts[n]
	for i, v := range values {
		at := offset + int64(i)
		if at >= int64(len(p.facts)) || p.facts[at].value != v {
			w.fail("partition %d: value %d was acknowledged at offset %d and is not there (invariants 1, 2)", n, v, at)
		}
		p.acked++
	}
}

// read is what a reader was given from an offset on; it returns the next one.
func (w *World) read(n int, from int64, batches []byte) int64 {
	p := w.parts[n]
	for len(batches) > 0 {
		batch, rest, h, err := record.Next(batches)
		if err != nil {
			w.fail("partition %d: read at %d: %v", n, from, err)
		}
		err = record.ForEach(batch, record.DefaultLimits(), func(x *record.Record) error {
			switch f := factOf(batch, &h, x); {
			case x.Offset < from:
			case x.Offset != from || x.Offset >= int64(len(p.facts)) || p.facts[x.Offset] != f:
				w.fail("partition %d: %v was read at offset %d, after %d (invariants 2, 8)", n, f, x.Offset, from)
			default:
				from++
			}
			return nil
		})
		if err != nil {
			w.fail("partition %d: read at %d: %v", n, from, err)
		}
		batches = rest
	}
	return from
}

// listed is an answer to a question that was asked when least was known to be
// committed (invariant 8).
func (w *World) listed(n int, offset, least int64) {
	p := w.parts[n]
	if offset < least {
		w.fail("partition %d: the newest offset is %d, earlier it was %d (invariant 8)", n, offset, least)
	}
	p.latest = max(p.latest, offset)
}
