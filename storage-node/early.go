package storagenode

import (
	"strconv"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// A producer has several batches under way (KIP-98). Over calls of their own one
// may overtake another on the last steps to its partition: it waits here, where
// a refusal would make the caller send it all again.

const (
	// earlyWait is how long a batch waits for those before it.
	earlyWait = 200 * time.Millisecond
	// earlySequences is how far ahead of the next sequence it may be.
	earlySequences = 1 << 20
)

// early tells whether a batch was refused as one before it is missing, which
// may be on its way.
func early(err error, h *record.Header) bool {
	e := errcode.Of(err)
	if e == nil || e.Reason != errcode.OutOfOrderSequence {
		return false
	}
	next, bad := strconv.ParseInt(e.Metadata["expected_sequence"], 10, 32)
	ahead := (h.BaseSequence - int32(next)) & 0x7fffffff
	return bad == nil && ahead > 0 && ahead < earlySequences
}

// awaitEarlier lets go of mu until a batch was appended, and says whether one
// was before the timer ran out.
func (p *partition) awaitEarlier(timer clock.Timer) bool {
	if p.overtaken == nil {
		p.overtaken = make(chan struct{})
	}
	appended := p.overtaken
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-appended:
		return true
	case <-timer.C():
		return false
	case <-p.node.draining:
		return false
	}
}

// wakeEarly has the batches that wait look again. The caller holds mu.
func (p *partition) wakeEarly() {
	if p.overtaken != nil {
		close(p.overtaken)
		p.overtaken = nil
	}
}
