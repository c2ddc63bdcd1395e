package history

import (
	"fmt"
	"slices"
)

// offsets finds offsets with two values and values with two offsets
// (invariants 2 and 14).
func (a *analysis) offsets() {
	a.each(func(l *log) {
		for _, offset := range sorted(l.values) {
			if values := sorted(l.values[offset]); len(values) > 1 {
				a.report(InconsistentOffsets, l, fmt.Sprintf("offset %d holds values %v", offset, values))
			}
		}
		for _, v := range sorted(l.places) {
			if places := sorted(l.places[v]); len(places) > 1 {
				a.report(Duplicate, l, fmt.Sprintf("value %d is at offsets %v", v, places))
			}
		}
	})
}

// reads finds reads of what must not be seen (invariants 22 and 23).
func (a *analysis) reads() {
	a.each(func(l *log) {
		for _, v := range sorted(l.reader) {
			w, written := l.writer[v]
			if !written {
				a.report(UnwrittenRead, l, fmt.Sprintf("value %d was read, and nobody sent it", v))
				continue
			}
			op := &a.ops[w]
			if op.Outcome == Failed {
				a.report(AbortedRead, l, fmt.Sprintf("value %d was read, and its write by process %d failed", v, op.Process))
			}
			if early := a.readEarly(op, w, l.reader[v]); early >= 0 {
				a.report(PreCommitRead, l, fmt.Sprintf("value %d was read by process %d before process %d asked to commit it",
					v, a.ops[early].Process, op.Process))
			}
		}
	})
}

// readEarly returns a reader of a transaction's value that cannot have seen it
// committed, or -1: the transaction itself, or one that ended too early.
func (a *analysis) readEarly(op *Op, index int, readers []int) int {
	if !op.Txn {
		return -1
	}
	for _, r := range readers {
		reader := &a.ops[r]
		if r == index || op.Commit == 0 && op.Outcome != Failed || op.Commit > 0 && reader.Complete > 0 && reader.Complete < op.Commit {
			return r
		}
	}
	return -1
}

// writes finds writes that are gone, and transactions of which only a part is
// there (invariants 1 and 22).
func (a *analysis) writes(final map[string]bool) {
	a.each(func(l *log) {
		for _, v := range sorted(l.writer) {
			op := &a.ops[l.writer[v]]
			if op.Outcome != OK || len(l.reader[v]) > 0 {
				continue
			}
			switch offset, known := l.place(v); {
			case known && offset < l.last:
				a.report(LostWrite, l, fmt.Sprintf("value %d at offset %d was acknowledged to process %d, and a read went past it to %d",
					v, offset, op.Process, l.last))
			case final[l.name]:
				a.report(Unseen, l, fmt.Sprintf("value %d was acknowledged to process %d, and the read at the end does not have it", v, op.Process))
			}
		}
	})
	for i := range a.ops {
		a.torn(&a.ops[i], final)
	}
}

// torn looks at a transaction without an outcome: all of it or nothing.
func (a *analysis) torn(op *Op, final map[string]bool) {
	if !op.Txn || op.Outcome == Failed {
		return
	}
	seen := 0
	var missing []string
	var where *log
	for _, act := range op.Actions {
		if !act.Write {
			continue
		}
		l := a.logs[act.Log]
		for _, r := range act.Records {
			if len(l.reader[r.Value]) > 0 {
				seen++
				continue
			}
			if offset, known := l.place(r.Value); final[l.name] || known && offset < l.last {
				missing, where = append(missing, fmt.Sprintf("%d in %s", r.Value, l.name)), l
			}
		}
	}
	if seen > 0 && len(missing) > 0 {
		a.report(TornTransaction, where, fmt.Sprintf("a transaction of process %d was read but for values %v", op.Process, missing))
	}
}

// place returns the one offset of a value.
func (l *log) place(v int64) (int64, bool) {
	places := sorted(l.places[v])
	if len(places) == 0 {
		return 0, false
	}
	return places[0], true
}

// sends finds a process's later send at a lower offset of the same log
// (invariant 14).
func (a *analysis) sends() {
	type key struct {
		process int
		log     string
	}
	last := map[key]Record{}
	for i := range a.ops {
		op := &a.ops[i]
		if op.Outcome == Failed {
			continue
		}
		for _, act := range op.Actions {
			if !act.Write {
				continue
			}
			l, k := a.logs[act.Log], key{op.Process, act.Log}
			for _, r := range act.Records {
				offset, known := l.place(r.Value)
				if !known {
					continue
				}
				if before, ok := last[k]; ok && offset < before.Offset {
					a.report(NonMonotonicSend, l, fmt.Sprintf("process %d sent %d to offset %d after %d to offset %d",
						op.Process, r.Value, offset, before.Value, before.Offset))
				}
				last[k] = Record{Value: r.Value, Offset: offset}
			}
		}
	}
}

// polls finds reads that go back or leave something out (invariants 8 and 20),
// within an operation and, where the reader did not move, from one to the next.
func (a *analysis) polls() {
	type key struct {
		process int
		log     string
	}
	last := map[key]int64{}
	for i := range a.ops {
		op := &a.ops[i]
		if op.Rewound {
			for k := range last {
				if k.process == op.Process {
					delete(last, k)
				}
			}
		}
		if op.Outcome != OK {
			continue
		}
		for _, act := range op.Actions {
			if act.Write || len(act.Records) == 0 {
				continue
			}
			k := key{op.Process, act.Log}
			before, follows := last[k]
			for _, r := range act.Records {
				if follows {
					a.step(a.logs[act.Log], op, before, r.Offset)
				}
				before, follows = r.Offset, true
			}
			last[k] = before
		}
	}
}

// step judges one step of a reader.
func (a *analysis) step(l *log, op *Op, from, to int64) {
	if to <= from {
		a.report(NonMonotonicPoll, l, fmt.Sprintf("process %d read offset %d after %d", op.Process, to, from))
		return
	}
	skipped := l.order[l.rank(from+1):l.rank(to)]
	if len(skipped) > 0 {
		a.report(PollSkip, l, fmt.Sprintf("process %d read offset %d after %d and left out %v", op.Process, to, from, skipped[:min(len(skipped), 5)]))
	}
}

// cycles finds operations each of which read what the other wrote, directly or
// through others (G1c): strongly connected parts of the graph of writer → reader.
func (a *analysis) cycles() {
	edges := make(map[int]map[int]bool)
	for _, l := range a.logs {
		for v, readers := range l.reader {
			w, written := l.writer[v]
			for _, r := range readers {
				if written && w != r {
					if edges[w] == nil {
						edges[w] = map[int]bool{}
					}
					edges[w][r] = true
				}
			}
		}
	}
	for _, part := range components(len(a.ops), edges) {
		if len(part) > 1 {
			slices.Sort(part)
			first := &a.ops[part[0]]
			a.found = append(a.found, Anomaly{Kind: Cycle, Details: fmt.Sprintf(
				"%d operations read what each other wrote, the first by process %d at %d ns", len(part), first.Process, first.Invoke)})
		}
	}
}
