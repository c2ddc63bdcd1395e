package shard

import (
	"context"
	"slices"
	"sync"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// life is one machine from its loading until it is thrown away.
type life struct {
	shard   *Shard
	machine Machine
	journal *journal.Journal
	now     time.Time // of the last Step

	tickets    map[Ticket]chan<- answer
	lastTicket Ticket

	// Steps that wrote are numbered. What of them is in no append yet is pending;
	// effects wait until the step that was the last to write is durable.
	pending      []unit
	pendingBytes int
	written      uint64 // last step that wrote
	sent         uint64 // last step of the append under way
	durable      uint64 // last step that is durable
	inFlight     bool
	appended     chan error
	waiting      []waitingEffects // by step

	calls       context.Context // done when the life ends
	cancelCalls context.CancelFunc
	running     sync.WaitGroup
	results     chan Result
}

// unit is what one step wrote: it goes into one append as a whole.
type unit struct {
	step    uint64
	records []journal.Record
	bytes   int
}

// waitingEffects are what others may see once a step is durable.
type waitingEffects struct {
	step    uint64
	replies []Reply
	calls   []Call
}

// serve runs the machine until Stop is called, and returns nil, or until it is
// not known what the journal holds, and returns why.
func (l *life) serve() error {
	s := l.shard
	timer := s.deps.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	changed := s.deps.Metadata.Changed()
	l.step(Loaded{Shard: s.cfg.Shard, Epoch: s.cfg.Epoch, View: s.deps.Metadata.View()})
	var armed time.Time
	for {
		l.flush()
		armed = l.arm(timer, armed)
		select {
		case q := <-l.inbox():
			l.ask(q)
		case err := <-l.appended:
			if err != nil {
				return err
			}
			l.inFlight, l.durable = false, l.sent
		case <-timer.C():
			armed = time.Time{}
			l.step(Tick{})
		case <-changed:
			changed = s.deps.Metadata.Changed()
			l.step(View{s.deps.Metadata.View()})
		case r := <-l.results:
			l.step(r)
		case <-s.wanted.Done():
			return l.finish()
		}
	}
}

// inbox is where the next question comes from: nowhere while as much waits for
// the journal as one append can take, or as many for their answers as there may.
func (l *life) inbox() <-chan *question {
	if l.inFlight && l.pendingBytes >= l.journal.MaxBytes()/2 || len(l.tickets) >= l.shard.cfg.MaxWaiting {
		return nil
	}
	return l.shard.inbox
}

// arm sets the timer to the machine's deadline.
func (l *life) arm(timer clock.Timer, armed time.Time) time.Time {
	at := l.machine.Deadline()
	if at.Equal(armed) {
		return armed
	}
	if at.IsZero() {
		timer.Stop()
		return at
	}
	timer.Reset(at.Sub(l.shard.deps.Clock.Now()))
	return at
}

func (l *life) ask(q *question) {
	if q.ctx.Err() != nil {
		return // nobody waits, and nothing was begun (rule G3)
	}
	l.lastTicket++
	l.tickets[l.lastTicket] = q.answer
	l.step(Request{Ticket: l.lastTicket, Message: q.message, Nonce: nonce()})
}

// step gives the machine an event and takes in its effects.
func (l *life) step(event Event) {
	if now := l.shard.deps.Clock.Now(); now.After(l.now) {
		l.now = now
	}
	e := l.machine.Step(l.now, event)
	if len(e.Records) > 0 {
		l.written++
		u := unit{step: l.written, records: e.Records}
		for _, r := range e.Records {
			u.bytes += r.Size()
		}
		l.pending, l.pendingBytes = append(l.pending, u), l.pendingBytes+u.bytes
	}
	if len(e.Replies)+len(e.Calls) > 0 {
		l.waiting = append(l.waiting, waitingEffects{l.written, e.Replies, e.Calls})
	}
}

// flush lets go of the effects that are durable, and begins the next append
// where none is under way.
func (l *life) flush() {
	n := 0
	for ; n < len(l.waiting) && l.waiting[n].step <= l.durable; n++ {
		l.release(&l.waiting[n])
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
	if !l.inFlight && len(l.pending) > 0 {
		records := l.gather()
		l.inFlight = true
		l.running.Go(func() { l.appended <- l.append(records) })
	}
}

// gather takes as many of the pending steps as fit in one append, one at least.
func (l *life) gather() []journal.Record {
	var records []journal.Record
	n, room := 0, l.journal.MaxBytes()
	for n < len(l.pending) && (n == 0 || l.pending[n].bytes <= room) {
		u := &l.pending[n]
		records = append(records, u.records...)
		room -= u.bytes
		l.pendingBytes -= u.bytes
		l.sent = u.step
		n++
	}
	l.pending = slices.Delete(l.pending, 0, n)
	return records
}

func (l *life) append(records []journal.Record) error {
	deps := &l.shard.deps
	// Not a child of wanted: an append under way is waited for.
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.shard.wanted))
	defer cancel()
	defer deps.Clock.AfterFunc(l.shard.cfg.AppendTimeout, cancel).Stop()
	began := deps.Clock.Now()
	err := l.journal.Append(ctx, records)
	deps.Metrics.Append.Observe(deps.Clock.Since(began).Seconds())
	deps.Metrics.AppendRecords.Observe(float64(len(records)))
	return err
}

func (l *life) release(w *waitingEffects) {
	owned := len(w.replies) > 0 && l.shard.deps.Owned()
	for _, r := range w.replies {
		to := l.tickets[r.Ticket]
		if to == nil {
			panic("shard: a machine replied twice, or to what nobody asked")
		}
		delete(l.tickets, r.Ticket)
		switch {
		case !owned:
			to <- answer{err: l.shard.notCoordinator()}
		case r.Err != nil:
			to <- answer{err: errcode.Of(r.Err)}
		default:
			to <- answer{message: r.Message}
		}
	}
	for _, c := range w.calls {
		l.running.Go(func() { l.call(c) })
	}
}

func (l *life) call(c Call) {
	r := Result{ID: c.ID}
	r.Answer, r.Err = l.shard.deps.Do(l.calls, c.Message)
	select {
	case l.results <- r:
	case <-l.calls.Done():
	}
}

// finish waits for the append under way, so that its callers hear of it.
func (l *life) finish() error {
	if !l.inFlight {
		return nil
	}
	if err := <-l.appended; err != nil {
		return err
	}
	l.inFlight, l.durable = false, l.sent
	l.pending = nil // what it holds is not answered
	l.flush()
	return nil
}

// end answers all who still wait and returns when nothing of the life runs.
func (l *life) end() {
	l.cancelCalls()
	l.running.Wait()
	err := l.shard.unknown()
	if l.shard.wanted.Err() != nil {
		err = l.shard.notCoordinator()
	}
	for _, to := range l.tickets {
		to <- answer{err: err}
	}
}
