package producer

import (
	"math"
	"testing"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// txnBatch is a batch of one record of a transaction.
func txnBatch(pid int64, epoch int16, seq int32) []byte {
	b := record.NewBuilder(record.BuilderOptions{ProducerID: pid, ProducerEpoch: epoch, BaseSequence: seq, Transactional: true})
	b.Append(&record.Record{Key: []byte("k"), Value: []byte("v")})
	batch, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return batch
}

func marker(kind record.ControlType, pid int64, epoch int16, coordinator int32) []byte {
	return record.ControlBatch(record.Control{Type: kind, ProducerID: pid, ProducerEpoch: epoch, CoordinatorEpoch: coordinator})
}

// apply puts a batch into the log at an offset.
func (s *State) apply(batch []byte, offset int64) {
	record.SetBaseOffset(batch, offset)
	h, err := record.ParseHeader(batch)
	if err != nil {
		panic(err)
	}
	s.Apply(batch, &h, 1)
}

// partition is a log with its producers, as a leader has them; its transcript
// reads as the leader's answers.
type partition struct {
	t   *testing.T
	s   *State
	end int64
}

func newPartition(t *testing.T) *partition { return &partition{t: t, s: New(100, 1000)} }

// send asks and, where it may, appends; it returns the verdict.
func (p *partition) send(batch []byte, req Request) (Verdict, error) {
	h, err := record.ParseHeader(batch)
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := p.s.Check(&h, req)
	if err == nil && v == (Verdict{}) {
		p.s.apply(batch, p.end)
		p.end++
	}
	return v, err
}

// guard sends a batch that is to be verified.
func (p *partition) guard(batch []byte, req Request) int64 {
	p.t.Helper()
	v, err := p.send(batch, req)
	if err != nil || v.VerifyGuard == 0 {
		p.t.Fatalf("got %+v, %v; want a guard", v, err)
	}
	return v.VerifyGuard
}

func (p *partition) appended(batch []byte, req Request) {
	p.t.Helper()
	if v, err := p.send(batch, req); err != nil || v != (Verdict{}) {
		p.t.Fatalf("got %+v, %v; want it appended", v, err)
	}
}

func (p *partition) refused(batch []byte, req Request, want errcode.Reason) {
	p.t.Helper()
	if v, err := p.send(batch, req); !errcode.Is(err, want) {
		p.t.Fatalf("got %+v, %v; want %s", v, err, want)
	}
}

// begin opens a transaction, with its verification.
func (p *partition) begin(pid int64, epoch int16, seq int32) {
	p.t.Helper()
	p.appended(txnBatch(pid, epoch, seq), Request{Guard: p.guard(txnBatch(pid, epoch, seq), Request{})})
}

// mark writes a marker, if it may; reason is empty where it may.
func (p *partition) mark(kind record.ControlType, pid int64, epoch int16, coordinator, version int32) (write bool, reason errcode.Reason) {
	c := record.Control{Type: kind, ProducerID: pid, ProducerEpoch: epoch, CoordinatorEpoch: coordinator}
	write, err := p.s.CheckMarker(&c, version)
	if err == nil && write {
		p.s.apply(record.ControlBatch(c), p.end)
		p.end++
	} else if err == nil {
		p.s.Ended(pid)
	}
	return write, errcode.ReasonOf(err)
}

func (p *partition) marked(kind record.ControlType, pid int64, epoch int16, coordinator, version int32, wantWrite bool, want errcode.Reason) {
	p.t.Helper()
	if write, reason := p.mark(kind, pid, epoch, coordinator, version); write != wantWrite || reason != want {
		p.t.Fatalf("marker of epoch %d, coordinator %d: written %t, %q; want %t, %q", epoch, coordinator, write, reason, wantWrite, want)
	}
}

func TestFirstBatchOfATransactionIsVerifiedAndThenOpensIt(t *testing.T) { // T7
	p := newPartition(t)
	g := p.guard(txnBatch(7, 0, 0), Request{})
	if again := p.guard(txnBatch(7, 0, 0), Request{}); again != g {
		t.Fatalf("the same batch has guards %d and %d", g, again)
	}
	p.appended(txnBatch(7, 0, 0), Request{Guard: g})
	p.appended(txnBatch(7, 0, 1), Request{}) // the transaction is open
	p.appended(txnBatch(7, 0, 2), Request{Guard: g})
	p.marked(record.Commit, 7, 1, 0, 2, true, "")
	if g2 := p.guard(txnBatch(7, 1, 0), Request{}); g2 == g {
		t.Fatal("the next transaction has the same guard")
	}
}

func TestGuardDies(t *testing.T) { // T7
	for name, kill := range map[string]func(p *partition) (Request, errcode.Reason){
		"by a marker": func(p *partition) (Request, errcode.Reason) {
			p.marked(record.Abort, 7, 0, 0, 1, true, "")
			return Request{}, errcode.InvalidTransactionState
		},
		"by a marker that was written before": func(p *partition) (Request, errcode.Reason) {
			p.marked(record.Abort, 7, 0, 3, 1, true, "")
			p.guard(txnBatch(7, 0, 0), Request{})
			p.marked(record.Abort, 7, 0, 3, 1, false, "")
			return Request{}, errcode.InvalidTransactionState
		},
		"by a marker of transaction version 2": func(p *partition) (Request, errcode.Reason) {
			p.marked(record.Abort, 7, 1, 0, 2, true, "")
			return Request{}, errcode.InvalidProducerEpoch // the epoch is checked first (KAFKA-19690)
		},
		"by a later epoch": func(p *partition) (Request, errcode.Reason) {
			p.guard(txnBatch(7, 1, 0), Request{})
			return Request{}, errcode.InvalidProducerEpoch
		},
		"by its own use": func(p *partition) (Request, errcode.Reason) {
			p.appended(txnBatch(7, 0, 0), Request{Guard: 1000})
			p.marked(record.Commit, 7, 0, 0, 1, true, "")
			return Request{}, errcode.InvalidTransactionState
		},
		"by another leader epoch": func(p *partition) (Request, errcode.Reason) {
			return Request{LeaderEpoch: 1}, errcode.InvalidTransactionState
		},
		"by age": func(p *partition) (Request, errcode.Reason) {
			p.s.Expire(1)
			return Request{}, errcode.InvalidTransactionState
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t)
			if g := p.guard(txnBatch(7, 0, 0), Request{}); g != 1000 {
				t.Fatalf("guard %d, want the first", g)
			}
			req, want := kill(p)
			req.Guard = 1000
			p.refused(txnBatch(7, 0, 1), req, want)
		})
	}
}

// Each life of each leader gives guards of a range of its own: one from below or
// above what this one gave is not one that has died.
func TestGuardOfAnotherLeaderSaysNothing(t *testing.T) { // T7
	for _, foreign := range []int64{5, 999, 1001, 1 << 60} {
		p := newPartition(t)
		p.begin(8, 0, 0) // another producer's: 1000 is given
		p.marked(record.Commit, 8, 1, 0, 2, true, "")
		if g := p.guard(txnBatch(7, 0, 0), Request{Guard: foreign}); g != 1001 {
			t.Fatalf("guard %d in the place of %d, want a new one", g, foreign)
		}
		p.appended(txnBatch(7, 0, 0), Request{Guard: 1001})
	}
	for _, dead := range []int64{1000, 1001} {
		p := newPartition(t)
		p.begin(8, 0, 0)
		p.guard(txnBatch(9, 0, 0), Request{})
		p.refused(txnBatch(7, 0, 0), Request{Guard: dead}, errcode.InvalidTransactionState)
	}
}

func TestLowestPendingSequenceBlocksHigherOnes(t *testing.T) { // T7, KIP-890
	p := newPartition(t)
	g := p.guard(txnBatch(7, 0, 3), Request{})
	p.guard(txnBatch(7, 0, 0), Request{})
	p.refused(txnBatch(7, 0, 3), Request{Guard: g}, errcode.OutOfOrderSequence)
	p.appended(txnBatch(7, 0, 0), Request{Guard: g})
	p = newPartition(t)
	g = p.guard(txnBatch(7, 0, 0), Request{}) // it wrapped
	p.guard(txnBatch(7, 0, math.MaxInt32), Request{})
	p.refused(txnBatch(7, 0, 0), Request{Guard: g}, errcode.OutOfOrderSequence)
	p.appended(txnBatch(7, 0, math.MaxInt32), Request{Guard: g})
	p.appended(txnBatch(7, 0, 0), Request{Guard: g})
}

func TestUnknownProducerOfTransactionVersion2BeginsAtZero(t *testing.T) { // T15
	p := newPartition(t)
	req := Request{TransactionVersion: 2}
	req.Guard = p.guard(txnBatch(7, 4, 5), req)
	p.refused(txnBatch(7, 4, 5), req, errcode.OutOfOrderSequence)
	p.appended(txnBatch(8, 4, 5), Request{Guard: p.guard(txnBatch(8, 4, 5), Request{})}) // version 1: it may have expired
	req.Guard = p.guard(txnBatch(9, 4, 0), Request{TransactionVersion: 2})
	p.appended(txnBatch(9, 4, 0), req)
}

func TestNextTransactionWaitsForTheMarkerOfTheOneBefore(t *testing.T) { // KAFKA-18575
	p := newPartition(t)
	p.begin(7, 0, 0)
	p.refused(txnBatch(7, 1, 0), Request{}, errcode.ConcurrentTransactions)
	p.marked(record.Commit, 7, 1, 0, 2, true, "")
	p.begin(7, 1, 0)
}

func TestBatchOutsideOfTheOpenTransactionIsRefused(t *testing.T) { // T14
	p := newPartition(t)
	p.begin(7, 0, 0)
	h := send(0, 1, 1)
	if _, err := p.s.Check(h, Request{}); !errcode.Is(err, errcode.InvalidTransactionState) {
		t.Fatalf("got %v", err)
	}
	p.marked(record.Abort, 7, 0, 0, 1, true, "")
	feed(t, p.s, send(0, 1, 1), p.end)
}

// The acceptance table of T9, one line a case.
func TestMarkerIsAcceptedAsKafkaDoes(t *testing.T) {
	const fencedEpoch, fencedCoordinator = errcode.InvalidProducerEpoch, errcode.CoordinatorFenced
	cases := []struct {
		name        string
		open        bool // a transaction of epoch 5; the last marker was coordinator 3's
		epoch       int16
		coordinator int32
		version     int32
		write       bool
		want        errcode.Reason
	}{
		{"v2, the epoch after", true, 6, 3, 2, true, ""},
		{"v2, an epoch further", true, 9, 3, 2, true, ""},
		{"v2, the transaction's own epoch", true, 5, 3, 2, false, fencedEpoch}, // KAFKA-19446
		{"v2, an epoch before", true, 4, 3, 2, false, fencedEpoch},
		{"v2, coordinator deposed", true, 6, 2, 2, false, fencedCoordinator},
		{"v2, coordinator new", true, 6, 4, 2, true, ""},
		{"v2, again", false, 5, 3, 2, false, ""}, // KAFKA-19999
		{"v2, again by a new coordinator", false, 5, 4, 2, false, ""},
		{"v2, again by a deposed one", false, 5, 2, 2, false, fencedCoordinator},
		{"v2, nothing open", false, 6, 3, 2, true, ""},
		{"v1, the transaction's own epoch", true, 5, 3, 1, true, ""},
		{"v1, fenced meanwhile", true, 6, 3, 1, true, ""},
		{"v1, an epoch before", true, 4, 3, 1, false, fencedEpoch},
		{"v1, coordinator deposed", true, 5, 2, 1, false, fencedCoordinator},
		{"v1, again", false, 5, 3, 1, false, ""},
		{"v1, again by a new coordinator", false, 5, 4, 1, true, ""},  // so that the old one is fenced
		{"v1, nothing open, a later epoch", false, 6, 3, 1, true, ""}, // fences what the transaction's own may still send
		{"v1, nothing open, an epoch before", false, 4, 3, 1, false, fencedEpoch},
		{"v1, nothing open, an epoch before, by a new coordinator", false, 4, 4, 1, false, fencedEpoch},
		{"an operator's, without version", true, 5, 3, 0, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newPartition(t)
			p.marked(record.Commit, 7, 5, 3, 1, true, "") // of a producer not known: T9's first marker
			if c.open {
				p.begin(7, 5, 0)
			}
			p.marked(record.Abort, 7, c.epoch, c.coordinator, c.version, c.write, c.want)
			known := p.s.Describe()[0]
			ended := c.want == ""
			if (known.TransactionStart >= 0) != (c.open && !ended) {
				t.Errorf("the transaction begins at %d", known.TransactionStart)
			}
			if c.write && (known.Epoch != c.epoch || known.CoordinatorEpoch != int64(c.coordinator)) {
				t.Errorf("the producer has %+v", known)
			}
		})
	}
}

func TestMarkerFencesLaterDataOfLowerEpochs(t *testing.T) { // T9
	p := newPartition(t)
	p.marked(record.Abort, 7, 3, 0, 2, true, "")
	p.refused(txnBatch(7, 2, 0), Request{}, errcode.InvalidProducerEpoch)
	if _, err := p.s.Check(send(2, 0, 1), Request{}); !errcode.Is(err, errcode.InvalidProducerEpoch) {
		t.Fatalf("got %v", err)
	}
	p.begin(7, 3, 0)
}

func TestOpenTransactionDoesNotExpire(t *testing.T) {
	p := newPartition(t)
	p.begin(7, 0, 0)
	p.s.Expire(math.MaxInt64)
	if p.s.Len() != 1 {
		t.Fatal("a producer with an open transaction expired")
	}
	p.marked(record.Commit, 7, 1, 0, 2, true, "")
	p.s.Expire(math.MaxInt64)
	if p.s.Len() != 0 {
		t.Fatal("a silent producer did not expire")
	}
}

func TestUndecidedHoldsTransactionsUntilTheirMarkerIsBelowTheHighWatermark(t *testing.T) { // T12
	p := newPartition(t)
	u := p.s.Undecided()
	feed(t, p.s, send(0, 0, 1), p.end) // offset 0
	p.end++
	p.begin(8, 0, 0)                              // offset 1
	p.begin(9, 0, 0)                              // offset 2
	p.marked(record.Commit, 8, 1, 0, 2, true, "") // offset 3
	for hw, want := range map[int64]int64{0: 1, 2: 1, 3: 1} {
		if got := u.First(hw); got != want {
			t.Fatalf("below %d the first undecided offset is %d, want %d", hw, got, want)
		}
	}
	if got := u.First(4); got != 2 {
		t.Fatalf("with its marker below the high watermark the first undecided is %d, want 2", got)
	}
	p.marked(record.Abort, 9, 1, 0, 2, true, "") // offset 4
	if got := u.First(5); got != math.MaxInt64 {
		t.Fatalf("all are decided, but %d", got)
	}
}

func TestBatchThatCouldNotBeAppendedLeavesNothingUndecided(t *testing.T) {
	s := New(10, 1)
	h, _ := record.ParseHeader(txnBatch(7, 0, 0))
	s.Begin(&h)
	if s.Undecided().First(10) != 0 {
		t.Fatal("what is about to be appended counts as decided")
	}
	s.Cancel(&h)
	if s.Undecided().First(10) != math.MaxInt64 {
		t.Fatal("what was not appended is undecided for ever")
	}
}
