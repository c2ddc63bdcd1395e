// Package history checks what clients of a log saw: it takes every operation
// that they did under faults and finds what no correct log can show (the
// invariants of the design that are marked with a C). It is pure: no client, no
// clock. Above it are the runs that break things on purpose.
//
// The analysis is the one that Jepsen runs on logs like Kafka's: values are
// unique within a log, so what was read tells which write it came from, and the
// offsets of a log give its values their order.
package history

import (
	"cmp"
	"maps"
	"slices"
)

// Outcome is how an operation ended.
type Outcome int8

// The outcomes. An operation that nobody saw the end of is Unknown.
const (
	OK Outcome = iota
	Failed
	Unknown
)

// NoOffset is the offset of a write whose answer did not tell one.
const NoOffset = -1

// Op is one operation of one client, whole: a send, a poll, or a transaction of
// several of them. Times are of one monotonic clock, in nanoseconds.
type Op struct {
	Process int     `json:"process"` // the client; it does one operation at a time
	Outcome Outcome `json:"outcome"`
	Invoke  int64   `json:"invoke"`
	// Commit is when a transaction's commit was asked for; 0 where the
	// operation is none, or never came to that.
	Commit int64 `json:"commit,omitempty"`
	// Complete is when the answer came; of an Unknown one, never.
	Complete int64    `json:"complete,omitempty"`
	Txn      bool     `json:"txn,omitempty"`
	Actions  []Action `json:"actions,omitempty"`
	// Rewound tells that the client may have moved before this operation: it
	// crashed, was assigned or joined anew, or sought. Polls before and after it
	// need not follow on each other.
	Rewound bool `json:"rewound,omitempty"`
}

// Action is a part of an operation: a write of one value, or a read of some
// that follow on each other in one log.
type Action struct {
	Log   string `json:"log"` // topic and partition
	Write bool   `json:"write,omitempty"`
	// Records are what was written, one, or read.
	Records []Record `json:"records"`
}

// Record is one value at its offset.
type Record struct {
	Value  int64 `json:"value"`
	Offset int64 `json:"offset"`
}

// Kind names an anomaly.
type Kind string

// The anomalies.
const (
	InconsistentOffsets Kind = "inconsistent offsets" // one offset, two values
	Duplicate           Kind = "duplicate"            // one value, two offsets
	UnwrittenRead       Kind = "unwritten read"       // a value that nobody sent
	AbortedRead         Kind = "aborted read"         // a value whose send or transaction failed
	PreCommitRead       Kind = "pre-commit read"      // read before its commit was asked for
	LostWrite           Kind = "lost write"           // acknowledged, below what was read, read by nobody
	TornTransaction     Kind = "torn transaction"     // a part of a transaction, though more was read
	PollSkip            Kind = "poll skip"            // a value left out between two that were read
	NonMonotonicPoll    Kind = "non-monotonic poll"   // a read that goes back
	NonMonotonicSend    Kind = "non-monotonic send"   // a later send at a lower offset
	Cycle               Kind = "write-read cycle"     // G1c: each read what the other wrote
	Unseen              Kind = "unseen at the end"    // acknowledged, and not in a whole read at the end
	RebalanceOverlap    Kind = "rebalance overlap"    // two owners of a partition in one generation
	LostOffset          Kind = "lost committed offset"
	CompactionLoss      Kind = "compaction loss" // a fresh read folds to another map
	BadCopy             Kind = "bad copy"        // not exactly what was there, in its order
	Undelivered         Kind = "undelivered"     // committed by a group of which no member saw it
)

// Anomaly is something that no correct log can show.
type Anomaly struct {
	Kind    Kind
	Log     string
	Details string
}

// Check finds the anomalies of a history. Reads are committed ones; final tells
// which logs were read whole after everything had ended.
func Check(ops []Op, final map[string]bool) []Anomaly {
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
	a := newAnalysis(ops)
	a.offsets()
	a.reads()
	a.writes(final)
	a.sends()
	a.polls()
	a.cycles()
	return a.found
}

// analysis is one history, indexed by log.
type analysis struct {
	ops   []Op
	logs  map[string]*log
	found []Anomaly
}

// log is what is known of one log.
type log struct {
	name   string
	values map[int64]map[int64]bool // by offset
	places map[int64]map[int64]bool // offsets, by value
	writer map[int64]int            // op, by value
	reader map[int64][]int          // ops, by value
	last   int64                    // highest offset read, or -1
	order  []int64                  // offsets of values that a committed read shows, ascending
}

func newAnalysis(ops []Op) *analysis {
	a := &analysis{ops: ops, logs: map[string]*log{}}
	for i, op := range ops {
		for _, act := range op.Actions {
			l := a.log(act.Log)
			for _, r := range act.Records {
				l.note(i, act.Write, r, op.Outcome)
			}
		}
	}
	for _, l := range a.logs {
		l.sort(a.ops)
	}
	return a
}

func (a *analysis) log(name string) *log {
	l := a.logs[name]
	if l == nil {
		l = &log{
			name: name, values: map[int64]map[int64]bool{}, places: map[int64]map[int64]bool{},
			writer: map[int64]int{}, reader: map[int64][]int{}, last: -1,
		}
		a.logs[name] = l
	}
	return l
}

func (l *log) note(op int, write bool, r Record, outcome Outcome) {
	if write {
		l.writer[r.Value] = op
	} else {
		l.reader[r.Value] = append(l.reader[r.Value], op)
		l.last = max(l.last, r.Offset)
	}
	if r.Offset == NoOffset || write && outcome == Failed {
		return
	}
	put(l.values, r.Offset, r.Value)
	put(l.places, r.Value, r.Offset)
}

// sort lists the offsets of what committed reads show: what was read, and what
// was acknowledged.
func (l *log) sort(ops []Op) {
	for offset, values := range l.values {
		for v := range values {
			w, written := l.writer[v]
			if len(l.reader[v]) > 0 || written && ops[w].Outcome == OK {
				l.order = append(l.order, offset)
				break
			}
		}
	}
	slices.Sort(l.order)
}

// rank is the place of an offset among those that reads show.
func (l *log) rank(offset int64) int {
	at, _ := slices.BinarySearch(l.order, offset)
	return at
}

func (a *analysis) report(kind Kind, l *log, details string) {
	a.found = append(a.found, Anomaly{Kind: kind, Log: l.name, Details: details})
}

// each visits the logs by name.
func (a *analysis) each(visit func(l *log)) {
	for _, name := range slices.Sorted(maps.Keys(a.logs)) {
		visit(a.logs[name])
	}
}

func put(m map[int64]map[int64]bool, key, value int64) {
	if m[key] == nil {
		m[key] = map[int64]bool{}
	}
	m[key][value] = true
}

func sorted[V any](m map[int64]V) []int64 { return slices.Sorted(maps.Keys(m)) }
