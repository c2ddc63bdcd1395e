//go:build faults

package faults

import (
	"fmt"
	"sync"

	"moldau.dev/services/clock"
	"moldau.dev/services/test/faults/history"
)

// recorder keeps what clients did. It is safe for concurrent use.
type recorder struct {
	clk   clock.Clock
	begin int64

	mu       sync.Mutex
	ops      []history.Op
	value    int64
	acked    int
	unknown  int
	readable int
	errors   map[string]int // of sends, by process and text
}

func newRecorder(clk clock.Clock) *recorder {
	return &recorder{clk: clk, begin: clk.Now().UnixNano(), errors: map[string]int{}}
}

// now is a time for the history, never 0.
func (r *recorder) now() int64 { return r.clk.Now().UnixNano() - r.begin + 1 }

// next returns a value that nobody else writes.
func (r *recorder) next() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value++
	return r.value
}

func (r *recorder) add(op history.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
	for _, a := range op.Actions {
		switch {
		case !a.Write:
			r.readable += len(a.Records)
		case op.Outcome == history.OK:
			r.acked += len(a.Records)
		case op.Outcome == history.Unknown:
			r.unknown += len(a.Records)
		}
	}
}

// sent notes the end of one send.
func (r *recorder) sent(process int, log string, value, offset, invoked int64, err error, refused bool) {
	op := history.Op{
		Process: process, Invoke: invoked, Complete: r.now(),
		Actions: []history.Action{{Log: log, Write: true, Records: []history.Record{{Value: value, Offset: offset}}}},
	}
	if err != nil {
		r.failed(process, err)
		op.Outcome, op.Complete = history.Unknown, 0
		op.Actions[0].Records[0].Offset = history.NoOffset
		if refused {
			op.Outcome, op.Complete = history.Failed, r.now()
		}
	}
	r.add(op)
}

// failed counts why sends got no answer.
func (r *recorder) failed(process int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[fmt.Sprintf("process %d: %v", process, err)]++
}

// history returns all operations so far.
func (r *recorder) history() []history.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]history.Op(nil), r.ops...)
}
