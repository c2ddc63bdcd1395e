package history

import (
	"slices"
	"testing"
)

// build makes histories readable: operations follow each other in time unless
// they say otherwise.
type build struct {
	ops []Op
	now int64
}

func (b *build) add(op Op) *build {
	b.now += 10
	if op.Invoke == 0 {
		op.Invoke = b.now
	}
	if op.Complete == 0 && op.Outcome != Unknown {
		op.Complete = b.now + 5
	}
	b.ops = append(b.ops, op)
	return b
}

func write(log string, value, offset int64) Action {
	return Action{Log: log, Write: true, Records: []Record{{value, offset}}}
}

// read makes values at offsets, in turns.
func read(log string, pairs ...int64) Action {
	a := Action{Log: log}
	for i := 0; i < len(pairs); i += 2 {
		a.Records = append(a.Records, Record{pairs[i], pairs[i+1]})
	}
	return a
}

func (b *build) send(process int, log string, value, offset int64) *build {
	return b.add(Op{Process: process, Actions: []Action{write(log, value, offset)}})
}

func (b *build) lost(process int, log string, value int64) *build {
	return b.add(Op{Process: process, Outcome: Unknown, Actions: []Action{write(log, value, NoOffset)}})
}

func (b *build) failed(process int, log string, value int64) *build {
	return b.add(Op{Process: process, Outcome: Failed, Actions: []Action{write(log, value, NoOffset)}})
}

func (b *build) poll(process int, actions ...Action) *build {
	return b.add(Op{Process: process, Actions: actions})
}

func (b *build) rewound(process int, actions ...Action) *build {
	return b.add(Op{Process: process, Rewound: true, Actions: actions})
}

// txn adds a transaction that asks to commit in the middle of its time.
func (b *build) txn(process int, outcome Outcome, actions ...Action) *build {
	b.now += 10
	op := Op{Process: process, Outcome: outcome, Txn: true, Invoke: b.now, Commit: b.now + 4, Actions: actions}
	if outcome != Unknown {
		op.Complete = b.now + 8
	}
	b.ops = append(b.ops, op)
	return b
}

func start() *build { return &build{} }

var whole = map[string]bool{"a": true, "b": true}

// TestGoodHistoriesHaveNoAnomaly keeps the checker from crying wolf.
func TestGoodHistoriesHaveNoAnomaly(t *testing.T) {
	for name, b := range map[string]*build{
		"nothing":                 start(),
		"send and read":           start().send(1, "a", 1, 0).send(1, "a", 2, 1).poll(2, read("a", 1, 0, 2, 1)),
		"two logs":                start().send(1, "a", 1, 0).send(1, "b", 2, 0).poll(2, read("a", 1, 0), read("b", 2, 0)),
		"unknown and there":       start().lost(1, "a", 1).poll(2, read("a", 1, 0)),
		"unknown and gone":        start().lost(1, "a", 1).send(1, "a", 2, 0).poll(2, read("a", 2, 0)),
		"failed and gone":         start().failed(1, "a", 1).send(1, "a", 2, 0).poll(2, read("a", 2, 0)),
		"gap of a marker":         start().send(1, "a", 1, 0).send(1, "a", 2, 2).poll(2, read("a", 1, 0, 2, 2)),
		"polls go on":             start().send(1, "a", 1, 0).send(1, "a", 2, 1).poll(2, read("a", 1, 0)).poll(2, read("a", 2, 1)),
		"rewound after a crash":   start().send(1, "a", 1, 0).poll(2, read("a", 1, 0)).rewound(2, read("a", 1, 0)),
		"moved away and on":       start().send(1, "a", 1, 0).send(1, "a", 2, 1).send(1, "a", 3, 2).poll(2, read("a", 1, 0, 2, 1)).rewound(2, read("a", 3, 2)),
		"committed":               start().txn(1, OK, write("a", 1, 0), write("b", 2, 0)).poll(2, read("a", 1, 0), read("b", 2, 0)),
		"aborted and unseen":      start().txn(1, Failed, write("a", 1, 0)).send(1, "a", 2, 2).poll(2, read("a", 2, 2)),
		"unknown, whole":          start().txn(1, Unknown, write("a", 1, 0), write("b", 2, 0)).poll(2, read("a", 1, 0), read("b", 2, 0)),
		"unknown, none of it":     start().txn(1, Unknown, write("a", 1, 0), write("b", 2, 0)).send(1, "a", 3, 2).send(1, "b", 4, 2).poll(2, read("a", 3, 2), read("b", 4, 2)),
		"consume-transform":       start().send(1, "a", 1, 0).txn(2, OK, read("a", 1, 0), write("b", 2, 0)).poll(3, read("a", 1, 0), read("b", 2, 0)),
		"read during the commit":  start().txn(1, OK, write("a", 1, 0)).add(Op{Process: 2, Invoke: 15, Complete: 16, Actions: []Action{read("a", 1, 0)}}),
		"sends of two processes":  start().send(1, "a", 1, 1).send(2, "a", 2, 0).poll(3, read("a", 2, 0, 1, 1)),
		"a failed poll":           start().send(1, "a", 1, 0).add(Op{Process: 2, Outcome: Failed, Actions: []Action{read("a")}}).poll(2, read("a", 1, 0)),
		"an acknowledged nowhere": start().send(1, "a", 1, NoOffset).poll(2, read("a", 1, 0)),
	} {
		if found := Check(b.ops, whole); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// TestBadHistoriesAreFound has every anomaly in several shapes.
func TestBadHistoriesAreFound(t *testing.T) {
	two := func() *build { return start().send(1, "a", 1, 0).send(1, "a", 2, 1) }
	three := func() *build { return two().send(1, "a", 3, 2) }
	for name, c := range map[string]struct {
		b    *build
		want Kind
	}{
		"two sends at one offset":             {start().send(1, "a", 1, 0).send(2, "a", 2, 0), InconsistentOffsets},
		"a read differs from the answer":      {start().send(1, "a", 1, 0).lost(2, "a", 2).poll(3, read("a", 2, 0)), InconsistentOffsets},
		"two readers differ":                  {start().lost(1, "a", 1).lost(1, "a", 2).poll(2, read("a", 1, 0)).poll(3, read("a", 2, 0)), InconsistentOffsets},
		"one reader, before and after":        {start().lost(1, "a", 1).lost(1, "a", 2).poll(2, read("a", 1, 5)).rewound(2, read("a", 2, 5)), InconsistentOffsets},
		"a value read twice":                  {start().send(1, "a", 1, 0).poll(2, read("a", 1, 0, 1, 1)), Duplicate},
		"a retry was appended again":          {start().lost(1, "a", 1).poll(2, read("a", 1, 3, 1, 4)), Duplicate},
		"answered here, read there":           {start().send(1, "a", 1, 0).poll(2, read("a", 1, 7)), Duplicate},
		"two readers, two places":             {start().lost(1, "a", 1).poll(2, read("a", 1, 0)).poll(3, read("a", 1, 1)), Duplicate},
		"a value out of nowhere":              {two().poll(2, read("a", 1, 0, 2, 1, 9, 2)), UnwrittenRead},
		"a value of another log":              {start().send(1, "a", 1, 0).send(1, "b", 2, 0).poll(2, read("a", 1, 0, 2, 1)), UnwrittenRead},
		"a failed send is read":               {start().failed(1, "a", 1).poll(2, read("a", 1, 0)), AbortedRead},
		"an aborted transaction is read":      {start().txn(1, Failed, write("a", 1, 0)).poll(2, read("a", 1, 0)), AbortedRead},
		"a part of an aborted one is read":    {start().txn(1, Failed, write("a", 1, 0), write("b", 2, 0)).poll(2, read("b", 2, 0)), AbortedRead},
		"an aborted one, in a transaction":    {start().txn(1, Failed, write("a", 1, 0)).txn(2, OK, read("a", 1, 0), write("b", 2, 0)), AbortedRead},
		"read before the commit":              {start().txn(1, OK, write("a", 1, 0)).add(Op{Process: 2, Invoke: 11, Complete: 12, Actions: []Action{read("a", 1, 0)}}), PreCommitRead},
		"read, and the commit never asked":    {start().add(Op{Process: 1, Outcome: Unknown, Txn: true, Actions: []Action{write("a", 1, 0)}}).poll(2, read("a", 1, 0)), PreCommitRead},
		"a transaction reads itself":          {start().txn(1, OK, write("a", 1, 0), read("a", 1, 0)), PreCommitRead},
		"unknown and read before the commit":  {start().txn(1, Unknown, write("a", 1, 0)).add(Op{Process: 2, Invoke: 11, Complete: 13, Actions: []Action{read("a", 1, 0)}}), PreCommitRead},
		"the first is gone":                   {two().poll(2, read("a", 2, 1)), LostWrite},
		"one in the middle is gone":           {three().rewound(2, read("a", 1, 0)).rewound(2, read("a", 3, 2)), LostWrite},
		"gone, and others read on":            {three().poll(2, read("a", 3, 2)).poll(3, read("a", 2, 1, 3, 2)), LostWrite},
		"gone after a change of leader":       {start().send(1, "a", 1, 0).lost(1, "a", 2).send(2, "a", 3, 5).poll(3, read("a", 3, 5)), LostWrite},
		"a committed one is gone":             {start().txn(1, OK, write("a", 1, 0)).send(1, "a", 2, 2).poll(2, read("a", 2, 2)), LostWrite},
		"half of a commit is read":            {start().txn(1, OK, write("a", 1, 0), write("b", 2, 0)).send(1, "b", 3, 2).poll(2, read("a", 1, 0), read("b", 3, 2)), TornTransaction},
		"half of an unknown one is read":      {start().txn(1, Unknown, write("a", 1, 0), write("b", 2, 0)).send(1, "b", 3, 2).poll(2, read("a", 1, 0), read("b", 3, 2)), TornTransaction},
		"torn in one log":                     {start().txn(1, Unknown, write("a", 1, 0), write("a", 2, 1)).send(1, "a", 3, 3).poll(2, read("a", 1, 0, 3, 3)), TornTransaction},
		"torn, seen at the end alone":         {start().txn(1, Unknown, write("a", 1, NoOffset), write("b", 2, NoOffset)).poll(2, read("a", 1, 0)), TornTransaction},
		"a poll leaves one out":               {three().poll(2, read("a", 1, 0, 3, 2)).poll(3, read("a", 2, 1)), PollSkip},
		"two polls leave one out":             {three().poll(2, read("a", 1, 0)).poll(2, read("a", 3, 2)).poll(3, read("a", 2, 1)), PollSkip},
		"a transaction's polls leave one out": {three().txn(2, OK, read("a", 1, 0), read("a", 3, 2)).poll(3, read("a", 1, 0, 2, 1)), PollSkip},
		"skips what only another reader saw":  {start().lost(1, "a", 1).lost(1, "a", 2).lost(1, "a", 3).poll(2, read("a", 1, 0, 3, 2)).poll(3, read("a", 2, 1)), PollSkip},
		"a poll goes back":                    {two().poll(2, read("a", 2, 1, 1, 0)), NonMonotonicPoll},
		"the next poll goes back":             {two().poll(2, read("a", 1, 0, 2, 1)).poll(2, read("a", 1, 0)), NonMonotonicPoll},
		"the next poll reads again":           {two().poll(2, read("a", 1, 0, 2, 1)).poll(2, read("a", 2, 1)), NonMonotonicPoll},
		"back within one transaction":         {two().txn(2, OK, read("a", 2, 1), read("a", 1, 0)), NonMonotonicPoll},
		"a later send is lower":               {start().send(1, "a", 1, 5).send(1, "a", 2, 4).poll(2, read("a", 2, 4, 1, 5)), NonMonotonicSend},
		"lower in one transaction":            {start().txn(1, OK, write("a", 1, 5), write("a", 2, 4)).poll(2, read("a", 2, 4, 1, 5)), NonMonotonicSend},
		"lower, known by a read alone":        {start().lost(1, "a", 1).lost(1, "a", 2).poll(2, read("a", 2, 0, 1, 1)), NonMonotonicSend},
		"two read each other": {start().
			add(Op{Process: 1, Txn: true, Commit: 30, Complete: 40, Actions: []Action{write("a", 1, 0), read("b", 2, 0)}}).
			add(Op{Process: 2, Txn: true, Commit: 30, Complete: 40, Actions: []Action{write("b", 2, 0), read("a", 1, 0)}}), Cycle},
		"three read each other": {start().
			add(Op{Process: 1, Txn: true, Commit: 50, Complete: 60, Actions: []Action{write("a", 1, 0), read("b", 3, 1)}}).
			add(Op{Process: 2, Txn: true, Commit: 50, Complete: 60, Actions: []Action{write("b", 2, 0), read("a", 1, 0)}}).
			add(Op{Process: 3, Txn: true, Commit: 50, Complete: 60, Actions: []Action{write("b", 3, 1), read("b", 2, 0)}}), Cycle},
		"acknowledged last, and unseen":       {two().poll(2, read("a", 1, 0)), Unseen},
		"acknowledged nowhere, and unseen":    {start().send(1, "a", 1, NoOffset).send(1, "a", 2, 1).poll(2, read("a", 2, 1)), Unseen},
		"an empty log at the end":             {start().send(1, "b", 1, 0), Unseen},
		"a committed transaction, and unseen": {start().txn(1, OK, write("a", 1, 0)), Unseen},
	} {
		found := Check(c.b.ops, whole)
		if !slices.ContainsFunc(found, func(a Anomaly) bool { return a.Kind == c.want }) {
			t.Errorf("%s: want %s, found %+v", name, c.want, found)
		}
	}
}

func TestOwners(t *testing.T) {
	good := []Ownership{
		{"g", "a-0", "m1", 1, 10, 20}, {"g", "a-0", "m2", 2, 20, 30}, {"g", "a-1", "m2", 1, 10, 0},
		{"h", "a-0", "m9", 1, 10, 0}, {"g", "a-0", "m1", 3, 31, 0},
	}
	if found := CheckOwners(good); len(found) > 0 {
		t.Errorf("good claims: %+v", found)
	}
	for name, bad := range map[string][]Ownership{
		"two in one generation":     {{"g", "a-0", "m1", 1, 10, 20}, {"g", "a-0", "m2", 1, 25, 30}},
		"the next before the last":  {{"g", "a-0", "m1", 1, 10, 20}, {"g", "a-0", "m2", 2, 19, 30}},
		"the last never gave it up": {{"g", "a-0", "m1", 1, 10, 0}, {"g", "a-0", "m2", 2, 19, 30}},
	} {
		if found := CheckOwners(bad); len(found) != 1 || found[0].Kind != RebalanceOverlap {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestCommittedOffsets(t *testing.T) {
	commit := func(offset, at int64, outcome Outcome) OffsetOp {
		return OffsetOp{"g", "a-0", true, offset, outcome, at, at + 5}
	}
	fetch := func(offset, at int64) OffsetOp { return OffsetOp{"g", "a-0", false, offset, OK, at, at + 5} }
	for name, good := range map[string][]OffsetOp{
		"none yet":             {fetch(NoOffset, 10)},
		"the last one":         {commit(3, 10, OK), commit(5, 20, OK), fetch(5, 30)},
		"unknown, took effect": {commit(3, 10, OK), commit(5, 20, Unknown), fetch(5, 30)},
		"unknown, later":       {commit(3, 10, OK), commit(5, 20, Unknown), fetch(3, 30), fetch(5, 40)},
		"failed":               {commit(3, 10, OK), commit(5, 20, Failed), fetch(3, 30)},
		"back on purpose":      {commit(5, 10, OK), commit(3, 20, OK), fetch(3, 30)},
		"at the same time":     {commit(3, 10, OK), commit(5, 12, OK), fetch(3, 30)},
	} {
		if found := CheckOffsets(good); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	for name, bad := range map[string][]OffsetOp{
		"forgotten":              {commit(3, 10, OK), fetch(NoOffset, 20)},
		"overwritten, and back":  {commit(3, 10, OK), commit(5, 20, OK), fetch(3, 30)},
		"never committed":        {commit(3, 10, OK), fetch(4, 20)},
		"failed, and there":      {commit(3, 10, OK), commit(5, 20, Failed), fetch(5, 30)},
		"there, and gone again":  {commit(3, 10, OK), commit(5, 20, Unknown), fetch(5, 30), fetch(3, 40)},
		"seen before its commit": {fetch(3, 10), commit(3, 20, OK)},
	} {
		if found := CheckOffsets(bad); len(found) != 1 || found[0].Kind != LostOffset {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestCompaction(t *testing.T) {
	acked := []Keyed{{"k", 1, false}, {"l", 2, false}, {"k", 3, false}, {"m", 4, false}, {"m", 0, true}}
	if found := CheckCompaction("a", acked, []Keyed{{"l", 2, false}, {"k", 3, false}}); len(found) > 0 {
		t.Errorf("a compacted log: %+v", found)
	}
	for name, got := range map[string][]Keyed{
		"an old value":     {{"l", 2, false}, {"k", 1, false}},
		"a key is missing": {{"k", 3, false}},
		"a deleted key":    {{"l", 2, false}, {"k", 3, false}, {"m", 4, false}},
	} {
		if found := CheckCompaction("a", acked, got); len(found) != 1 || found[0].Kind != CompactionLoss {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestCopies(t *testing.T) {
	for name, c := range map[string]struct {
		from, to []int64
		whole    bool
	}{
		"all":         {[]int64{1, 2, 3}, []int64{1, 2, 3}, true},
		"so far":      {[]int64{1, 2, 3}, []int64{1, 2}, false},
		"nothing yet": {[]int64{1}, nil, false},
	} {
		if found := CheckCopies("a", c.from, c.to, c.whole); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	for name, c := range map[string]struct {
		from, to []int64
		whole    bool
	}{
		"twice":            {[]int64{1, 2, 3}, []int64{1, 2, 2, 3}, true},
		"the last twice":   {[]int64{1, 2}, []int64{1, 2, 2}, true},
		"one is missing":   {[]int64{1, 2, 3}, []int64{1, 3}, false},
		"in another order": {[]int64{1, 2, 3}, []int64{2, 1, 3}, true},
		"the end missing":  {[]int64{1, 2, 3}, []int64{1, 2}, true},
	} {
		if found := CheckCopies("a", c.from, c.to, c.whole); len(found) != 1 || found[0].Kind != BadCopy {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestDelivery(t *testing.T) {
	ops := start().send(1, "a", 1, 0).send(1, "a", 2, 1).send(1, "a", 3, 2).ops
	seen := func(offsets ...int64) map[string]map[int64]bool {
		list := map[int64]bool{}
		for _, o := range offsets {
			list[o] = true
		}
		return map[string]map[int64]bool{"a": list}
	}
	at := func(offset int64) map[string]int64 { return map[string]int64{"a": offset} }
	if found := CheckDelivery("g", ops, seen(0, 1), at(1), at(2)); len(found) > 0 {
		t.Errorf("delivered and committed: %+v", found)
	}
	if found := CheckDelivery("g", ops, seen(0, 2), at(3), at(3)); len(found) != 1 || found[0].Kind != Undelivered {
		t.Errorf("offset 1 was passed over: %+v", found)
	}
	if found := CheckDelivery("g", ops, seen(0, 1), at(2), at(1)); len(found) != 1 || found[0].Kind != LostOffset {
		t.Errorf("a commit is gone: %+v", found)
	}
}
