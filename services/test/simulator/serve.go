package simulator

import (
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/replication"
)

// appending is what is asked of a leader with a batch.
type appending struct {
	batch   []byte
	guard   int64 // that was verified (T7); 0: none
	version int32 // of the transaction
	// owner is the epoch of the shard whose journal it is, and expected where the
	// owner knows its end to be; -1: it does not (T1).
	owner, expected int64
}

// produced is the answer to an append.
type produced struct {
	offset int64
	guard  int64 // to be verified; nothing was appended
	reason errcode.Reason
}

// leads finds the leader of a partition here, in the caller's epoch.
func (n *node) leads(part int, leaderEpoch int32) (*replica, errcode.Reason) {
	if n.epoch == 0 {
		return nil, errcode.NodeUnavailable
	}
	switch r := n.replicas[part]; {
	case r.leader == nil:
		return nil, errcode.NotLeader
	case leaderEpoch < r.epoch:
		return nil, errcode.FencedLeaderEpoch
	case leaderEpoch > r.epoch:
		return nil, errcode.UnknownLeaderEpoch
	default:
		return r, ""
	}
}

// produce appends a batch and answers once it is committed (acks=all).
func (n *node) produce(part int, leaderEpoch int32, in appending, answer func(produced)) {
	r, reason := n.leads(part, leaderEpoch)
	if reason == "" && r.leader.UnderMinISR() {
		reason = errcode.NotEnoughReplicas
	}
	if reason != "" {
		answer(produced{reason: reason})
		return
	}
	h, err := record.ParseHeader(in.batch)
	if err != nil {
		n.w.fail("a client's batch: %v", err)
	}
	if !r.admitOwner(in.owner) {
		answer(produced{reason: errcode.CoordinatorFenced})
		return
	}
	v, err := r.producers.Check(&h, producer.Request{Guard: in.guard, LeaderEpoch: r.epoch, TransactionVersion: in.version})
	switch {
	case err != nil:
		answer(produced{reason: errcode.ReasonOf(err)})
		return
	case v.VerifyGuard != 0:
		answer(produced{guard: v.VerifyGuard})
		return
	case v.Duplicate == nil && in.expected >= 0 && in.expected != r.log.EndOffset():
		answer(produced{reason: errcode.OffsetMismatch})
		return
	}
	base, end := r.log.EndOffset(), int64(0)
	if v.Duplicate != nil {
		base, end = v.Duplicate.BaseOffset, v.Duplicate.LastOffset+1
	}
	if v.Duplicate == nil {
		end = r.put(in.batch, &h)
	}
	r.await(end, v.Duplicate == nil, func(ok bool) {
		if ok {
			answer(produced{offset: base})
		} else {
			answer(produced{reason: errcode.NotLeader})
		}
	})
}

// put writes a leader's batch, and returns where the log ends then.
func (r *replica) put(batch []byte, h *record.Header) (end int64) {
	h.BaseOffset, h.LeaderEpoch = r.log.EndOffset(), r.epoch
	record.SetBaseOffset(batch, h.BaseOffset)
	record.SetLeaderEpoch(batch, h.LeaderEpoch)
	r.write(batch, h)
	r.n.w.point(r.n.proc)
	return h.NextOffset()
}

// await answers once the high watermark has reached end, or can no longer;
// written says that the batch before it is new.
func (r *replica) await(end int64, written bool, answer func(ok bool)) {
	r.waiting = append(r.waiting, waiting{end, answer})
	if written {
		r.dirty = true
		r.n.flush()
		r.stepLeader(replication.Appended{End: end})
		for _, id := range sorted(r.senders) {
			r.senders[id].kick()
		}
	}
	if r.leader != nil {
		r.answer()
	}
}

// admitOwner keeps former owners of a shard out of its journal, as the fence of
// a storage node does (T1).
func (r *replica) admitOwner(epoch int64) bool {
	known := r.owner
	if shard, ok := r.n.w.shardOf(r.part); ok && shard < len(r.n.view.state.Shards) {
		known = max(known, r.n.view.state.Shards[shard].Epoch)
	}
	if epoch < known {
		return false
	}
	if epoch > r.owner {
		r.owner, r.ownedFrom = epoch, r.log.EndOffset()
	}
	return true
}

// mark ends a producer's transaction (T9), and answers once the marker, or the
// one that was written before, is committed.
func (n *node) mark(part int, version int8, c record.Control, answer func(errcode.Reason)) {
	r := n.replicas[part]
	switch {
	case n.epoch == 0:
		answer(errcode.NodeUnavailable)
		return
	case r.leader == nil:
		answer(errcode.NotLeader)
		return
	case r.leader.UnderMinISR():
		answer(errcode.NotEnoughReplicas)
		return
	}
	write, err := r.producers.CheckMarker(&c, int32(version))
	if err != nil {
		answer(errcode.ReasonOf(err))
		return
	}
	end := r.log.EndOffset()
	if write {
		batch := record.ControlBatch(c)
		h, err := record.ParseHeader(batch)
		if err != nil {
			n.w.fail("a marker: %v", err)
		}
		end = r.put(batch, &h)
	} else {
		r.producers.Ended(c.ProducerID)
	}
	r.await(end, write, func(ok bool) {
		if ok {
			answer("")
		} else {
			answer(errcode.NotLeader)
		}
	})
}

// lastStable is the offset before which all transactions are decided (T12).
func (r *replica) lastStable() int64 {
	stable := max(min(r.hw, r.producers.Undecided().First(r.hw)), r.log.StartOffset())
	r.n.w.checkStable(r.part, stable)
	return stable
}

// fetched is the answer to a read.
type fetched struct {
	batches []byte
	aborted []commitlog.Aborted
	reason  errcode.Reason
}

// fetching is what is asked of a leader's log.
type fetching struct {
	offset int64
	// committed reads end before the first transaction that is not decided.
	committed bool
	owner     int64 // as in appending
}

// fetch reads what is committed (R14).
func (n *node) fetch(part int, leaderEpoch int32, in fetching, answer func(fetched)) {
	r, reason := n.leads(part, leaderEpoch)
	offset := in.offset
	if reason == "" && !r.admitOwner(in.owner) {
		reason = errcode.CoordinatorFenced
	}
	if reason != "" {
		answer(fetched{reason: reason})
		return
	}
	start, end, bound := r.log.StartOffset(), r.log.EndOffset(), r.hw
	if in.committed {
		bound = r.lastStable()
	}
	switch {
	case offset < start || offset > end:
		answer(fetched{reason: errcode.OffsetOutOfRange})
		return
	case offset > r.hw && !r.leader.Known() || in.owner > 0 && r.hw < r.ownedFrom:
		answer(fetched{reason: errcode.OffsetNotAvailable})
		return
	case offset >= bound:
		answer(fetched{})
		return
	}
	a, err := fetched{}, error(nil)
	if in.committed {
		a.batches, a.aborted, err = r.log.ReadCommitted(offset, bound, 4<<10, true, nil)
	} else {
		a.batches, err = r.log.Read(offset, bound, 4<<10, true, nil)
	}
	if err != nil {
		n.w.fail("node %d, partition %d: read at %d: %v", n.id, part, offset, err)
	}
	answer(a)
}

// listed is the answer to the question for the newest offset.
type listed struct {
	offset int64
	reason errcode.Reason
}

// latest tells the newest committed offset, or the last stable one, if this
// surely is the leader still (R8, R12).
func (n *node) latest(part int, leaderEpoch int32, committed bool, answer func(listed)) {
	r, reason := n.leads(part, leaderEpoch)
	switch {
	case reason != "":
		answer(listed{reason: reason})
	case !r.leader.Known() || !n.lease.Held(n.now()):
		answer(listed{reason: errcode.OffsetNotAvailable})
	case committed:
		answer(listed{offset: r.lastStable()})
	default:
		answer(listed{offset: r.hw})
	}
}
