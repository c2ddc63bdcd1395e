package simulator

import (
	"encoding/binary"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// life is one machine of a shard over its journal, as coordinator/shard and
// coordinator/journal run it: a model of those shells, around the real machine.
// The journal is a partition of the simulated cluster.
type life struct {
	h    *holding
	kind shardKind
	part int // of the journal

	// term grows with each load and with the end: what is under way in an earlier
	// one is void.
	term    int
	serving bool
	machine shard.Machine
	next    int64 // where the journal ends

	// As in shard.life: effects wait until the step that was the last to write is
	// durable.
	pending                []journal.Record
	written, sent, durable uint64
	inFlight               bool
	waiting                []waitingEffects
	tickets                map[shard.Ticket]func(any, error)
	last                   shard.Ticket
	armed                  time.Time
}

type waitingEffects struct {
	step    uint64
	replies []shard.Reply
	calls   []shard.Call
}

const (
	appendTimeout = 5 * time.Second
	callTimeout   = 2 * time.Second
)

func (l *life) w() *World { return l.h.c.w }

// later plans something of this term.
func (l *life) later(d time.Duration, what string, do func()) {
	term := l.term
	l.w().after(l.h.c.proc, d, what, func() {
		if l.term == term {
			do()
		}
	})
}

// stop ends the term; whoever waits is told why.
func (l *life) stop(why errcode.Reason) {
	l.term++
	l.serving = false
	tickets := l.tickets
	l.tickets = nil
	for _, t := range sorted(tickets) {
		tickets[t](nil, errcode.New(why, "the shard is given up"))
	}
}

// load takes the journal over by a record of the owner, and replays what is
// before it (invariant 21).
func (l *life) load() {
	l.stop(errcode.CoordinatorUnavailable)
	*l = life{h: l.h, kind: l.kind, part: l.part, term: l.term, tickets: map[shard.Ticket]func(any, error){}}
	l.machine = l.w().machine(l.kind)
	own := journal.Record{Key: journal.Key(0), Value: binary.BigEndian.AppendUint64([]byte{1}, uint64(l.h.epoch))}
	l.append([]journal.Record{own}, -1, 1<<62, func(base int64, err error) {
		if err != nil {
			l.failed(err)
			return
		}
		l.replay(0, base)
	})
}

// failed begins anew after an error that leaves it open what the journal holds;
// one who is fenced has lost the shard.
func (l *life) failed(err error) {
	l.stop(errcode.CoordinatorUnavailable)
	if errcode.Is(err, errcode.CoordinatorFenced) {
		l.w().note("lost shard", int(l.h.c.id), l.part)
		return
	}
	l.later(50*time.Millisecond+l.w().upTo(200*time.Millisecond), "load", l.load)
}

// append writes records as one batch, and tries for as long as that may take.
// With an expected end a repeat is safe: if the batch is there already the log
// does not end there any more.
func (l *life) append(records []journal.Record, expected int64, limit time.Duration, done func(base int64, err error)) {
	began := l.w().now
	b := record.NewBuilder(record.DefaultBuilderOptions())
	for _, r := range records {
		b.Append(&record.Record{Key: r.Key, Value: r.Value})
	}
	batch, err := b.Build(nil)
	if err != nil {
		l.w().fail("a batch of a journal: %v", err)
	}
	var try func()
	try = func() {
		again := func(reason errcode.Reason) {
			err := errcode.New(reason, "append")
			if !err.Retryable() || l.w().now-began >= limit {
				done(0, err)
				return
			}
			l.later(10*time.Millisecond+l.w().upTo(300*time.Millisecond), "append", try)
		}
		n, leaderEpoch := l.h.c.leader(l.part)
		if n == nil {
			again(errcode.NodeUnavailable)
			return
		}
		in, term := appending{batch: append([]byte(nil), batch...), owner: l.h.epoch, expected: expected}, l.term
		call(l.w(), l.h.c.proc, n.proc, "journal", callTimeout, func(reply func(produced)) {
			n.produce(l.part, leaderEpoch, in, reply)
		}, func(a produced, err error) {
			switch {
			case l.term != term:
			case err != nil:
				again(errcode.RequestTimedOut)
			case a.reason != "":
				again(a.reason)
			default:
				done(a.offset, nil)
			}
		})
	}
	try()
}

// replay reads the journal up to the own record, and hands the machine all that
// is no owner's.
func (l *life) replay(from, own int64) {
	if from > own {
		l.next, l.serving = own+1, true
		l.w().note("serves", int(l.h.c.id), l.part, int(l.h.epoch))
		l.step(shard.Loaded{Shard: int32(l.h.index), Epoch: l.h.epoch, View: l.w().viewOf(l.h.c.view)})
		return
	}
	again := func() {
		l.later(10*time.Millisecond+l.w().upTo(200*time.Millisecond), "replay", func() { l.replay(from, own) })
	}
	n, leaderEpoch := l.h.c.leader(l.part)
	if n == nil {
		again()
		return
	}
	term := l.term
	call(l.w(), l.h.c.proc, n.proc, "journal read", callTimeout, func(reply func(fetched)) {
		n.fetch(l.part, leaderEpoch, fetching{offset: from, owner: l.h.epoch}, reply)
	}, func(a fetched, err error) {
		switch {
		case l.term != term:
		case err != nil || a.reason != "" && a.reason != errcode.CoordinatorFenced || a.reason == "" && len(a.batches) == 0:
			again()
		case a.reason != "":
			l.failed(errcode.New(a.reason, "read"))
		default:
			l.w().read(l.part, from, a.batches)
			next, lost := l.take(a.batches, from, own)
			if lost {
				l.failed(errcode.New(errcode.CoordinatorFenced, "a later owner has written"))
				return
			}
			l.replay(next, own)
		}
	})
}

func (l *life) take(batches []byte, from, own int64) (next int64, lost bool) {
	next = from
	for len(batches) > 0 && next <= own {
		batch, rest, h, err := record.Next(batches)
		if err != nil {
			l.w().fail("journal: %v", err)
		}
		err = record.ForEach(batch, record.DefaultLimits(), func(x *record.Record) error {
			if x.Offset < from || x.Offset > own {
				return nil
			}
			kind, _, err := journal.ParseKey(x.Key)
			if err != nil {
				return err
			}
			if kind == 0 {
				lost = lost || int64(binary.BigEndian.Uint64(x.Value[1:])) > l.h.epoch
				return nil
			}
			return l.machine.Replay(journal.Record{Key: x.Key, Value: x.Value})
		})
		if err != nil {
			l.w().fail("journal %d cannot be replayed: %v (invariant 21)", l.part, err)
		}
		batches, next = rest, h.NextOffset()
	}
	return next, lost
}

// ask gives the machine a request; reply is called once, or never if the process
// ends.
func (l *life) ask(message any, reply func(any, error)) {
	l.last++
	l.tickets[l.last] = reply
	var nonce [16]byte
	binary.BigEndian.PutUint64(nonce[:], l.w().rng.Uint64())
	binary.BigEndian.PutUint64(nonce[8:], l.w().rng.Uint64())
	l.step(shard.Request{Ticket: l.last, Message: message, Nonce: nonce})
}

// step gives the machine an event and takes in its effects.
func (l *life) step(e shard.Event) {
	out := l.machine.Step(l.h.c.now(), e)
	if len(out.Records) > 0 {
		l.written++
		l.pending = append(l.pending, out.Records...)
	}
	if len(out.Replies)+len(out.Calls) > 0 {
		l.waiting = append(l.waiting, waitingEffects{l.written, out.Replies, out.Calls})
	}
	l.flush()
	l.arm()
}

// arm plans the machine's next Tick.
func (l *life) arm() {
	if !l.serving {
		return
	}
	at := l.machine.Deadline()
	if at.Equal(l.armed) {
		return
	}
	if l.armed = at; at.IsZero() {
		return
	}
	d := time.Duration(float64(at.Sub(l.h.c.now()))/l.h.c.proc.rate) + time.Microsecond
	l.later(d, "deadline", func() {
		if l.serving && l.armed.Equal(at) {
			l.armed = time.Time{}
			l.step(shard.Tick{})
		}
	})
}

// flush lets go of the effects that are durable, and begins the next append. The
// coordinator may die between any two.
func (l *life) flush() {
	for l.serving && len(l.waiting) > 0 && l.waiting[0].step <= l.durable {
		e := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.release(e)
	}
	if !l.serving || l.inFlight || len(l.pending) == 0 {
		return
	}
	records := l.pending
	l.pending, l.sent, l.inFlight = nil, l.written, true
	expected := l.next
	l.append(records, expected, appendTimeout, func(base int64, err error) {
		if err == nil && base != expected {
			l.w().fail("journal %d: an append landed at %d, not %d (invariant 21)", l.part, base, expected)
		}
		if err != nil {
			l.w().note("unloads "+string(errcode.ReasonOf(err)), int(l.h.c.id), l.part)
			l.failed(err)
			return
		}
		l.next, l.inFlight, l.durable = base+int64(len(records)), false, l.sent
		l.w().point(l.h.c.proc)
		l.flush()
	})
}

func (l *life) release(e waitingEffects) {
	owned := l.h.owned()
	for _, r := range e.replies {
		l.w().point(l.h.c.proc)
		to := l.tickets[r.Ticket]
		delete(l.tickets, r.Ticket)
		switch {
		case to == nil:
			l.w().fail("shard %d answers twice, or what nobody asked", l.part)
		case !owned:
			to(nil, errNotCoordinator)
		default:
			to(r.Message, r.Err)
		}
	}
	for _, c := range e.calls {
		l.w().point(l.h.c.proc)
		term := l.term
		l.do(c.Message, func(answer any, err error) {
			if l.term == term && l.serving {
				l.step(shard.Result{ID: c.ID, Answer: answer, Err: err})
			}
		})
	}
}
