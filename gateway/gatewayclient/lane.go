package gatewayclient

import (
	"math"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

const (
	// inFlight is how many batches of a partition are under way at once: as many
	// as storage remembers, so that each may be sent again (KIP-98).
	inFlight = 5
	// forgotten is after how long without a batch storage may no longer know the
	// producer; in truth that takes much longer.
	forgotten = 10 * time.Minute
)

// lane is one partition. All is guarded by the producer's mutex.
//
//	queue ─▶ flying: sent ─▶ answered ─┬─ appended, or refused: told
//	            ▲                      ├─ try again: rests, then sent again
//	            │                      └─ refused, as one before it is missing:
//	            └──────────────────────── sent again behind it
//
// Invariant: flying is in the order of the sequences, which have no gap; the
// newest and the oldest are at most inFlight apart.
type lane struct {
	place
	producerID int64     // of this lane, as a lane that lost count takes a new one
	next       int32     // sequence of the next batch
	heard      time.Time // when one was appended, by this producer id
	queue      []*batch
	flying     []*batch // the oldest has not landed
	// broken is set when one failed that others follow. Once nothing of the lane
	// is under way any more, those that were never appended go out again under a
	// new producer id.
	broken bool
	ready  bool // stands in the producer's list
}

// batch is what goes out together.
type batch struct {
	records  []record.Record
	done     []func(Receipt, error)
	size     int
	deadline time.Time

	sequence int32
	encoded  []byte      // with producer and sequence, once it was sent
	sent     bool        // on the present stream, and not answered
	resting  clock.Timer // until the next try; nil: it does not rest
	unsure   bool        // a try may have been taken
	renewed  bool        // has had a second producer id
	tries    int
	landed   bool // its outcome is told
}

// outcome is what is told of a batch.
type outcome struct {
	l    *lane
	b    *batch
	base int64
	err  error
}

// begins tells whether storage may know nothing of the producer, and would take
// a batch that overtook the first.
func (l *lane) begins(now time.Time) bool { return now.Sub(l.heard) > forgotten }

// pick returns the next batch to send, or nil. A batch follows others only if
// it is at least half full, or others wait behind it.
func (l *lane) pick(now time.Time, batchBytes int) *batch {
	if l.broken {
		return nil
	}
	begins := l.begins(now)
	for _, b := range l.flying {
		switch {
		case b.landed:
		case b.sent && begins || b.resting != nil:
			return nil
		case !b.sent:
			return b
		}
	}
	if len(l.queue) == 0 || len(l.flying) >= inFlight {
		return nil
	}
	b := l.queue[0]
	if len(l.flying) > 0 && (begins || len(l.queue) == 1 && b.size < batchBytes/2) {
		return nil
	}
	l.queue = l.queue[1:]
	l.flying = append(l.flying, b)
	l.number(b)
	return b
}

// number gives a batch the next sequence.
func (l *lane) number(b *batch) {
	b.sequence, b.encoded = l.next, nil
	l.next = int32((int64(l.next) + int64(len(b.records))) & math.MaxInt32)
}

// adopt begins with a new producer id.
func (l *lane) adopt(id int64) {
	l.producerID, l.next, l.heard = id, 0, time.Time{}
	for _, b := range l.flying {
		if !b.landed {
			l.number(b)
		}
	}
}

// leads tells whether nothing before a batch is without an outcome.
func (l *lane) leads(b *batch) bool {
	for _, older := range l.flying {
		if older == b {
			return true
		}
		if !older.landed {
			return false
		}
	}
	return true
}

// land takes a batch out of the air that was appended at base.
func (l *lane) land(b *batch, base int64, now time.Time) outcome {
	b.landed, b.sent, l.heard = true, false, now
	l.prune()
	return outcome{l: l, b: b, base: base}
}

// fail takes a batch out of the air that will not be tried again.
func (l *lane) fail(b *batch, err error) outcome {
	b.landed, b.sent = true, false
	if b.resting != nil {
		b.resting.Stop()
		b.resting = nil
	}
	switch {
	case b != l.flying[len(l.flying)-1]:
		l.broken = true
	case b.unsure || fenced(errcode.ReasonOf(err)):
		l.producerID = record.NoProducerID
	default:
		l.next = b.sequence // it was never appended
	}
	l.prune()
	return outcome{l: l, b: b, base: -1, err: err}
}

func (l *lane) prune() {
	for len(l.flying) > 0 && l.flying[0].landed {
		l.flying = l.flying[1:]
	}
}

// settle renews a broken lane of which nothing is under way. It returns the
// batches whose outcome nobody can know.
func (l *lane) settle() (over []outcome) {
	if !l.broken {
		return nil
	}
	var again []*batch
	for _, b := range l.flying {
		if b.sent {
			return nil
		}
	}
	for _, b := range l.flying {
		switch {
		case b.landed:
		case b.unsure:
			b.landed = true
			if b.resting != nil {
				b.resting.Stop()
				b.resting = nil
			}
			over = append(over, outcome{l: l, b: b, base: -1, err: errcode.New(errcode.RequestTimedOut, "a batch before it failed; whether it was appended is not known")})
		default:
			again = append(again, b)
		}
	}
	l.flying, l.broken, l.producerID = again, false, record.NoProducerID
	return over
}
