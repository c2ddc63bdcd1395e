package simulator

import (
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/replication"
)

// produced is the answer to an append.
type produced struct {
	offset int64
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
func (n *node) produce(part int, leaderEpoch int32, batch []byte, answer func(produced)) {
	r, reason := n.leads(part, leaderEpoch)
	if reason == "" && r.leader.UnderMinISR() {
		reason = errcode.NotEnoughReplicas
	}
	if reason != "" {
		answer(produced{reason: reason})
		return
	}
	h, err := record.ParseHeader(batch)
	if err != nil {
		n.w.fail("a client's batch: %v", err)
	}
	v, err := r.producers.Check(&h, producer.Request{LeaderEpoch: r.epoch})
	if err != nil {
		answer(produced{reason: errcode.ReasonOf(err)})
		return
	}
	base, end := r.log.EndOffset(), int64(0)
	if v.Duplicate != nil {
		base, end = v.Duplicate.BaseOffset, v.Duplicate.LastOffset+1
	}
	if v.Duplicate == nil {
		record.SetBaseOffset(batch, base)
		record.SetLeaderEpoch(batch, r.epoch)
		h.BaseOffset, h.LeaderEpoch = base, r.epoch
		end = h.NextOffset()
		r.write(batch, &h)
		n.w.point(n.proc)
	}
	r.waiting = append(r.waiting, waiting{end, func(ok bool) {
		if ok {
			answer(produced{offset: base})
		} else {
			answer(produced{reason: errcode.NotLeader})
		}
	}})
	if v.Duplicate == nil {
		r.dirty = true
		n.flush()
		r.stepLeader(replication.Appended{End: end})
		for _, id := range sorted(r.senders) {
			r.senders[id].kick()
		}
	}
	if r.leader != nil {
		r.answer()
	}
}

// fetched is the answer to a read.
type fetched struct {
	batches []byte
	reason  errcode.Reason
}

// fetch reads what is committed (R14).
func (n *node) fetch(part int, leaderEpoch int32, offset int64, answer func(fetched)) {
	r, reason := n.leads(part, leaderEpoch)
	if reason != "" {
		answer(fetched{reason: reason})
		return
	}
	start, end := r.log.StartOffset(), r.log.EndOffset()
	switch {
	case offset < start || offset > end:
		answer(fetched{reason: errcode.OffsetOutOfRange})
		return
	case offset > r.hw && !r.leader.Known():
		answer(fetched{reason: errcode.OffsetNotAvailable})
		return
	case offset >= r.hw:
		answer(fetched{})
		return
	}
	b, err := r.log.Read(offset, r.hw, 4<<10, true, nil)
	if err != nil {
		n.w.fail("node %d, partition %d: read at %d: %v", n.id, part, offset, err)
	}
	answer(fetched{batches: b})
}

// listed is the answer to the question for the newest offset.
type listed struct {
	offset int64
	reason errcode.Reason
}

// latest tells the newest committed offset, if this surely is the leader still
// (R8, R12).
func (n *node) latest(part int, leaderEpoch int32, answer func(listed)) {
	r, reason := n.leads(part, leaderEpoch)
	switch {
	case reason != "":
		answer(listed{reason: reason})
	case !r.leader.Known() || !n.lease.Held(n.now()):
		answer(listed{reason: errcode.OffsetNotAvailable})
	default:
		answer(listed{offset: r.hw})
	}
}
