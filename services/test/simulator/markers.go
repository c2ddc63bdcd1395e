package simulator

import (
	"fmt"
	"time"

	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/cluster"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// do makes a machine's call, as the coordinator's shell does.
func (l *life) do(message any, done func(any, error)) {
	c := l.h.c
	switch m := message.(type) {
	case txn.SendMarkers:
		(&sending{l: l, term: l.term, m: m, done: done}).round(m.Participants)
	case txn.AllocateProducerIDs:
		c.allocate(done)
	case *coordinatorv1.AddOffsetsRequest:
		ask := txn.AddParticipants{
			ID: m.GetTransactionalId(), Producer: txn.Identity{ProducerID: m.GetProducerId(), Epoch: int16(m.GetProducerEpoch())},
			VerifyOnly: m.GetVerifyOnly(), Participants: txn.NewParticipants(nil, []int32{int32(c.w.shardFor(m.GetGroupId()))}),
		}
		c.w.askShard(c.proc, c.view, transactions, c.w.shardFor(ask.ID), ask, callTimeout, func(a any, err error) {
			if err != nil {
				done(nil, err)
				return
			}
			v := a.(*txn.Verdict)
			if e := v.OffsetShards[0]; e != nil {
				done(nil, e)
				return
			}
			done(&coordinatorv1.AddOffsetsResponse{CoordinatorEpoch: v.CoordinatorEpoch}, nil)
		})
	default:
		panic(fmt.Sprintf("a call of type %T", m))
	}
}

const producerIDBlock = 20

// allocate takes a block of producer ids, which nobody else is ever given (T5).
func (c *coordinator) allocate(done func(any, error)) {
	ctl := c.w.controllers[c.w.activeController()]
	type block struct {
		first int64
		err   error
	}
	call(c.w, c.proc, ctl.proc, "allocate", time.Second, func(reply func(block)) {
		ctl.decide(cluster.AllocateProducerIDs{Count: producerIDBlock}, func(_ int64, err error) {
			if err != nil {
				reply(block{err: err})
				return
			}
			reply(block{first: ctl.image.state.NextProducerID - producerIDBlock})
		})
	}, func(b block, err error) {
		if err == nil {
			err = b.err
		}
		if err != nil {
			done(nil, err)
			return
		}
		done(txn.ProducerIDs{First: b.first, Count: producerIDBlock}, nil)
	})
}

// sending is one SendMarkers: rounds, until each participant has its marker, for
// as long as the shard is served here (T9, T10).
type sending struct {
	l    *life
	term int
	m    txn.SendMarkers
	done func(any, error)
}

func (s *sending) round(to txn.Participants) {
	c, missed, asked := s.l.h.c, txn.Participants{}, to.Len()
	heard := func() {
		if asked--; asked > 0 || s.l.term != s.term {
			return
		}
		if missed.Len() == 0 {
			s.done(nil, nil)
			return
		}
		s.l.later(10*time.Millisecond+c.w.upTo(400*time.Millisecond), "markers", func() { s.round(missed) })
	}
	for _, p := range to.Partitions {
		s.mark(p, func(ok bool) {
			if !ok {
				missed.Partitions = append(missed.Partitions, p)
			}
			heard()
		})
	}
	for _, n := range to.OffsetShards {
		s.complete(n, func(ok bool) {
			if !ok {
				missed.OffsetShards = append(missed.OffsetShards, n)
			}
			heard()
		})
	}
}

func (s *sending) mark(p txn.Partition, done func(ok bool)) {
	c, m := s.l.h.c, s.m
	marker := record.Control{
		Type: record.Abort, ProducerID: m.Producer.ProducerID, ProducerEpoch: m.Producer.Epoch, CoordinatorEpoch: int32(m.CoordinatorEpoch),
	}
	if m.Commit {
		marker.Type = record.Commit
	}
	n, _ := c.leader(int(p.Index))
	if n == nil {
		c.w.after(c.proc, time.Millisecond, "no leader", func() { done(false) })
		return
	}
	call(c.w, c.proc, n.proc, "marker", 3*time.Second, func(reply func(errcode.Reason)) {
		n.mark(int(p.Index), m.Version, marker, reply)
	}, func(reason errcode.Reason, err error) {
		// A later epoch is there only after all markers of this transaction.
		done(err == nil && (reason == "" || reason == errcode.InvalidProducerEpoch))
	})
}

func (s *sending) complete(n int32, done func(ok bool)) {
	c, m := s.l.h.c, s.m
	ask := &coordinatorv1.CompleteOffsetsRequest{
		Shard: n, ProducerId: m.Producer.ProducerID, ProducerEpoch: int32(m.Producer.Epoch),
		CoordinatorEpoch: m.CoordinatorEpoch, TransactionVersion: int32(m.Version), Commit: m.Commit,
	}
	c.w.askShard(c.proc, c.view, groups, int(n), ask, 3*time.Second, func(_ any, err error) {
		done(err == nil || errcode.Is(err, errcode.InvalidProducerEpoch))
	})
}
