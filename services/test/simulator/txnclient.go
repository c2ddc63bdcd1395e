package simulator

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"moldau.dev/coordinator/txn"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// producer is a transactional producer, with the part of a gateway in front of
// it: one transaction at a time, of either protocol (T3, T6, T7, T18).
type transactor struct {
	c       *client
	id      string
	version int8 // of the protocol
	timeout time.Duration

	who      txn.Identity
	known    bool          // who is
	next     map[int]int32 // sequence, by partition, under who
	t        *attempt
	added    map[int]bool // partitions that the coordinator knows of
	doubtful bool         // an answer is missing: under version 1 the identity must not be used again (T18)
}

func newTransactor(c *client, id string) *transactor {
	p := &transactor{c: c, id: id, version: 1 + int8(c.w.rng.IntN(2)), who: txn.Nobody}
	p.timeout = 3*time.Second + c.w.upTo(5*time.Second)
	return p
}

func (p *transactor) ask(message any, timeout time.Duration, done func(any, error)) {
	p.c.w.askShard(p.c.proc, p.c.view, transactions, p.c.w.shardFor(p.id), message, timeout, done)
}

// again does something after a while, unless it has been tried often.
func (p *transactor) again(tries int, do func(tries int), giveUp func()) {
	if tries >= 12 {
		giveUp()
		return
	}
	p.c.w.after(p.c.proc, p.c.pause()+time.Duration(tries)*p.c.pause(), "again", func() { do(tries + 1) })
}

// init gets an identity, for ever if need be; with a chance as one that
// continues (KIP-360).
func (p *transactor) init(done func()) {
	ask := txn.InitProducer{ID: p.id, TimeoutMs: int32(p.timeout.Milliseconds()), Expected: txn.Nobody}
	if p.known && p.c.w.chance(30) {
		ask.Expected = p.who
	}
	p.known = false
	var try func(int)
	try = func(int) {
		p.ask(ask, 3*time.Second, func(a any, err error) {
			if err != nil {
				if !errcode.Of(err).Retryable() {
					ask.Expected = txn.Nobody
				}
				p.again(0, try, nil)
				return
			}
			p.who, p.known, p.doubtful = *a.(*txn.Identity), true, false
			p.next = map[int]int32{}
			done()
		})
	}
	try(0)
}

func (p *transactor) begin() {
	p.t, p.added = p.c.w.begin(p.id, p.who, p.version), map[int]bool{}
}

// lose gives the identity up: who asks for it anew fences what is open.
func (p *transactor) lose(done func(ok bool)) {
	p.t = nil
	p.init(func() { done(false) })
}

// produce appends values to a partition, in the transaction. Where it fails the
// identity is given up, unless the transaction can only be aborted.
func (p *transactor) produce(part int, values []int64, done func(ok bool)) {
	b := record.NewBuilder(record.BuilderOptions{
		ProducerID: p.who.ProducerID, ProducerEpoch: p.who.Epoch, BaseSequence: p.next[part], Transactional: true,
	})
	for _, v := range values {
		b.Append(&record.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(v))})
	}
	batch, err := b.Build(nil)
	if err != nil {
		panic("a batch of small records: " + err.Error())
	}
	send := func() { p.send(part, batch, values, 0, 0, done) }
	if p.version == 1 && !p.added[part] {
		p.add(part, false, 0, func(ok bool) {
			if !ok {
				p.lose(done)
				return
			}
			send()
		})
		return
	}
	send()
}

func (p *transactor) send(part int, batch []byte, values []int64, guard int64, tries int, done func(ok bool)) {
	again := func() {
		p.again(tries, func(tries int) { p.send(part, batch, values, guard, tries, done) }, func() { p.lose(done) })
	}
	n, leaderEpoch := p.c.leader(part)
	if n == nil {
		again()
		return
	}
	in := appending{batch: slices.Clone(batch), guard: guard, version: int32(p.version), expected: -1}
	call(p.c.w, p.c.proc, n.proc, "produce", 2*time.Second, func(reply func(produced)) {
		n.produce(part, leaderEpoch, in, reply)
	}, func(a produced, err error) {
		switch {
		case err != nil:
			p.doubtful = true
			again()
		case a.reason != "" && errcode.New(a.reason, "").Retryable():
			again()
		case a.reason != "":
			p.c.w.note("lost "+string(a.reason), int(p.who.ProducerID), int(p.who.Epoch))
			p.lose(done)
		case a.guard != 0:
			p.add(part, p.version == 1, 0, func(ok bool) {
				if !ok {
					p.lose(done)
					return
				}
				p.again(tries, func(tries int) { p.send(part, batch, values, a.guard, tries, done) }, func() { p.lose(done) })
			})
		default:
			p.c.w.acked(part, a.offset, values)
			p.next[part] += int32(len(values))
			done(true)
		}
	})
}

// add adds a partition to the transaction, or verifies that it is in (T7, T8).
func (p *transactor) add(part int, verify bool, tries int, done func(ok bool)) {
	ask := txn.AddParticipants{
		ID: p.id, Producer: p.who, VerifyOnly: verify,
		Participants: txn.NewParticipants([]txn.Partition{{Topic: topicID, Index: int32(part)}}, nil),
	}
	p.ask(ask, 2*time.Second, func(a any, err error) {
		switch {
		case err == nil && a.(*txn.Verdict).Partitions[0] == nil:
			p.added[part] = true
			done(true)
		case err != nil && errcode.Of(err).Retryable():
			p.doubtful = p.doubtful || errcode.Is(err, errcode.RequestTimedOut)
			p.again(tries, func(tries int) { p.add(part, verify, tries, done) }, func() { done(false) })
		default:
			done(false)
		}
	})
}

// finish ends the transaction, and says whether it has committed.
func (p *transactor) finish(commit bool, done func(ok bool)) {
	want := aborts
	if commit {
		want = commits
	}
	p.t.asked = want
	p.end(want, 0, done)
}

func (p *transactor) end(want verdict, tries int, done func(ok bool)) {
	ask := txn.EndTransaction{ID: p.id, Producer: p.who, Commit: want == commits, Version: p.version}
	p.ask(ask, 3*time.Second, func(a any, err error) {
		switch {
		case err == nil:
			p.c.w.toldOf(p.t, want)
			if p.who = *a.(*txn.Identity); p.who != p.t.who {
				p.next = map[int]int32{}
			}
			p.t = nil
			if p.version == 1 && p.doubtful {
				p.init(func() { done(want == commits) })
				return
			}
			p.doubtful = false
			done(want == commits)
		case errcode.Of(err).Retryable():
			p.doubtful = p.doubtful || errcode.Is(err, errcode.RequestTimedOut)
			p.again(tries, func(tries int) { p.end(want, tries, done) }, func() { p.lose(done) })
		default:
			p.lose(done)
		}
	})
}

// spreader is a producer that writes to all outputs in each transaction, and now
// and then falls silent in the middle of one.
type spreader struct {
	id   string
	p    *transactor
	idle bool
}

func (a *spreader) work(c *client) {
	a.p = newTransactor(c, a.id)
	a.p.init(func() { a.round(c) })
}

func (a *spreader) round(c *client) {
	a.idle = c.w.stopped
	if a.idle {
		return
	}
	a.p.begin()
	a.write(c, 1+c.w.rng.IntN(4), func(ok bool) {
		next := func(bool) { c.w.after(c.proc, c.pause(), "transaction", func() { a.round(c) }) }
		switch {
		case !ok:
			next(false)
		case c.w.chance(6): // it goes away, and comes again
			d := c.w.upTo(10 * time.Second)
			c.w.after(c.proc, d, "back again", func() { a.p.lose(next) })
		default:
			a.p.finish(c.w.chance(75), next)
		}
	})
}

// write appends n batches, each to some output.
func (a *spreader) write(c *client, n int, done func(ok bool)) {
	if n == 0 {
		done(true)
		return
	}
	var values []int64
	for range 1 + c.w.rng.IntN(3) {
		values = append(values, c.w.value(a.p.t))
	}
	outputs := c.w.outputs()
	a.p.produce(outputs[c.w.rng.IntN(len(outputs))], values, func(ok bool) {
		if !ok {
			done(false)
			return
		}
		a.write(c, n-1, done)
	})
}

func (a *spreader) waits() string {
	if a.idle {
		return ""
	}
	return fmt.Sprintf("producer %q is in a transaction", a.id)
}
