package producer

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// naive is the model: the whole log, searched anew for every question, and the
// verifications under way.
type naive struct {
	log    []record.Header
	marks  map[int64]record.Control // by offset
	guards map[int64]naiveGuard     // by producer
}

type naiveGuard struct {
	id     int64
	epoch  int16
	lowest int32
}

func (n *naive) of(pid int64) (mine []record.Header) {
	for _, h := range n.log {
		if h.ProducerID == pid {
			mine = append(mine, h)
		}
	}
	return mine
}

// epoch is that of the last batch, or -1.
func (n *naive) epoch(pid int64) int16 {
	if mine := n.of(pid); len(mine) > 0 {
		return mine[len(mine)-1].ProducerEpoch
	}
	return -1
}

// opened is the first offset of the open transaction, or -1.
func (n *naive) opened(pid int64) int64 {
	start := int64(-1)
	for _, h := range n.of(pid) {
		switch {
		case h.Control():
			start = -1
		case h.Transactional() && start < 0:
			start = h.BaseOffset
		}
	}
	return start
}

// batches are the last five of the current epoch.
func (n *naive) batches(pid int64) []record.Header {
	var mine []record.Header
	for _, h := range n.of(pid) {
		if !h.Control() && h.ProducerEpoch == n.epoch(pid) {
			mine = append(mine, h)
		}
	}
	return mine[max(0, len(mine)-5):]
}

func (n *naive) coordinator(pid int64) int64 {
	epoch := int64(-1)
	for _, h := range n.of(pid) {
		if h.Control() {
			epoch = int64(n.marks[h.BaseOffset].CoordinatorEpoch)
		}
	}
	return epoch
}

// firstUndecided looks at every transaction of the log.
func (n *naive) firstUndecided(hw int64) int64 {
	first, open := int64(math.MaxInt64), map[int64]int64{}
	for _, h := range n.log {
		start, ok := open[h.ProducerID]
		switch {
		case h.Control() && ok:
			if h.BaseOffset >= hw {
				first = min(first, start)
			}
			delete(open, h.ProducerID)
		case !h.Control() && h.Transactional() && !ok:
			open[h.ProducerID] = h.BaseOffset
		}
	}
	for _, start := range open {
		first = min(first, start)
	}
	return first
}

func (n *naive) check(h *record.Header, req Request) (dup int64, verify bool, reason errcode.Reason) {
	epoch, batches, opened := n.epoch(h.ProducerID), n.batches(h.ProducerID), n.opened(h.ProducerID)
	if h.ProducerEpoch < epoch {
		return -1, false, errcode.InvalidProducerEpoch
	}
	if h.ProducerEpoch == epoch {
		for _, b := range batches {
			if b.BaseSequence == h.BaseSequence && b.Count == h.Count {
				return b.BaseOffset, false, ""
			}
		}
	}
	if h.Transactional() && opened >= 0 && h.ProducerEpoch > epoch {
		return -1, false, errcode.ConcurrentTransactions
	}
	if h.Transactional() && opened < 0 {
		g, pending := n.guards[h.ProducerID]
		switch {
		case pending && h.ProducerEpoch < g.epoch:
			return -1, false, errcode.InvalidProducerEpoch
		case pending && req.Guard == g.id && h.ProducerEpoch == g.epoch:
			if comesAfter(h.BaseSequence, g.lowest) {
				return -1, false, errcode.OutOfOrderSequence
			}
		case req.Guard >= 1000:
			return -1, false, errcode.InvalidTransactionState
		default:
			return -1, true, ""
		}
	}
	expected := int32(0)
	if h.ProducerEpoch == epoch && len(batches) > 0 {
		last := batches[len(batches)-1]
		expected = int32((int64(last.BaseSequence) + int64(last.Count)) % (1 << 31))
	}
	if h.BaseSequence != expected && (epoch >= 0 || h.Transactional() && req.TransactionVersion >= 2) {
		return -1, false, errcode.OutOfOrderSequence
	}
	if !h.Transactional() && opened >= 0 {
		return -1, false, errcode.InvalidTransactionState
	}
	return -1, false, ""
}

func (n *naive) checkMarker(c *record.Control, version int32) (write bool, reason errcode.Reason) {
	epoch, open, coordinator := n.epoch(c.ProducerID), n.opened(c.ProducerID) >= 0, n.coordinator(c.ProducerID)
	switch {
	case int64(c.CoordinatorEpoch) < coordinator:
		return false, errcode.CoordinatorFenced
	case c.ProducerEpoch > epoch:
		return true, ""
	case c.ProducerEpoch < epoch || version == 2 && open:
		return false, errcode.InvalidProducerEpoch
	case version == 2:
		return false, ""
	}
	return open || int64(c.CoordinatorEpoch) > coordinator, ""
}

// comesAfter counts forward from b, at most a quarter of the way round.
func comesAfter(a, b int32) bool {
	forward := int64(a) - int64(b)
	if forward < 0 {
		forward += 1 << 31
	}
	return forward > 0 && forward < 1<<30
}

func (n *naive) apply(h record.Header, c *record.Control) {
	if c != nil {
		n.marks[h.BaseOffset] = *c
	}
	n.log = append(n.log, h)
	delete(n.guards, h.ProducerID)
}

// drawn is one run of the model beside the state.
type drawn struct {
	*rapid.T
	s     *State
	model naive
	end   int64
}

func TestStateAgreesWithTheNaiveModelAndItsOwnSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawn{T: t, s: New(1000, 1000), model: naive{marks: map[int64]record.Control{}, guards: map[int64]naiveGuard{}}}
		hw := int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
				d.mark()
			} else {
				d.send()
			}
			hw = rapid.Int64Range(hw, d.end).Draw(t, "high watermark")
			if got, want := d.s.Undecided().First(hw), d.model.firstUndecided(hw); got != want {
				t.Fatalf("first undecided below %d: %d, the model says %d", hw, got, want)
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				d.restart(hw)
			}
		}
		d.replay()
	})
}

func (d *drawn) send() {
	h := d.draw()
	pid := h.ProducerID
	req := Request{TransactionVersion: rapid.Int32Range(1, 2).Draw(d.T, "version")}
	if g, ok := d.model.guards[pid]; ok && rapid.IntRange(0, 3).Draw(d.T, "guarded") > 0 {
		req.Guard = g.id
	} else if rapid.IntRange(0, 9).Draw(d.T, "stale") == 0 {
		req.Guard = rapid.SampledFrom([]int64{5, max(d.s.guards.next-1, 5)}).Draw(d.T, "guard")
	}
	if req.Guard >= 1000 && req.Guard >= d.s.guards.next {
		req.Guard = 0
	}
	wantDup, wantVerify, wantReason := d.model.check(&h, req)
	v, err := d.s.Check(&h, req)
	if errcode.ReasonOf(err) != wantReason {
		d.Fatalf("%+v, %+v: %v, the model says %q", h, req, err, wantReason)
	}
	if (v.Duplicate != nil) != (wantDup >= 0) || v.Duplicate != nil && v.Duplicate.BaseOffset != wantDup || (v.VerifyGuard != 0) != wantVerify {
		d.Fatalf("%+v, %+v: %+v, the model says duplicate %d, verify %t", h, req, v, wantDup, wantVerify)
	}
	if err != nil || v.Duplicate != nil {
		return
	}
	if wantVerify {
		g, pending := d.model.guards[pid]
		if !pending || h.ProducerEpoch > g.epoch {
			g = naiveGuard{v.VerifyGuard, h.ProducerEpoch, h.BaseSequence}
		}
		if comesAfter(g.lowest, h.BaseSequence) {
			g.lowest = h.BaseSequence
		}
		d.model.guards[pid] = g
		if v.VerifyGuard != g.id {
			d.Fatalf("guard %d, the model says %d", v.VerifyGuard, g.id)
		}
		return
	}
	h.BaseOffset = d.end
	d.s.Begin(&h)
	d.s.Apply(nil, &h, d.end)
	d.end = h.NextOffset()
	d.model.apply(h, nil)
}

// draw draws a batch that mostly is what a producer would send next, or again.
func (d *drawn) draw() record.Header {
	pid := rapid.Int64Range(0, 2).Draw(d.T, "pid")
	h := record.Header{ProducerID: pid, Count: rapid.Int32Range(1, 3).Draw(d.T, "count")}
	epoch, batches := d.model.epoch(pid), d.model.batches(pid)
	if rapid.Bool().Draw(d.T, "transactional") || d.model.opened(pid) >= 0 && rapid.IntRange(0, 5).Draw(d.T, "stays") > 0 {
		h.Attributes = 1 << 4
	}
	switch kind := rapid.IntRange(0, 6).Draw(d.T, "send"); {
	case epoch < 0:
		h.BaseSequence = rapid.SampledFrom([]int32{0, 0, 5, math.MaxInt32 - 400}).Draw(d.T, "first")
	case kind == 0 && len(batches) > 0:
		old := batches[rapid.IntRange(0, len(batches)-1).Draw(d.T, "back")]
		h.ProducerEpoch, h.BaseSequence, h.Count = old.ProducerEpoch, old.BaseSequence, old.Count
	case kind == 1:
		h.ProducerEpoch = max(epoch+rapid.Int16Range(-1, 1).Draw(d.T, "bump"), 0)
	default:
		h.ProducerEpoch = epoch
		if len(batches) > 0 {
			h.BaseSequence = next(batches[len(batches)-1].LastSequence())
		}
	}
	h.LastOffsetDelta = h.Count - 1
	return h
}

func (d *drawn) mark() {
	pid := rapid.Int64Range(0, 2).Draw(d.T, "pid")
	version := rapid.Int32Range(1, 2).Draw(d.T, "version")
	c := record.Control{
		Type: rapid.SampledFrom([]record.ControlType{record.Commit, record.Abort}).Draw(d.T, "type"), ProducerID: pid,
		ProducerEpoch:    max(d.model.epoch(pid)+rapid.Int16Range(-1, 2).Draw(d.T, "bump"), 0),
		CoordinatorEpoch: max(int32(d.model.coordinator(pid))+rapid.Int32Range(-1, 1).Draw(d.T, "coordinator"), 0),
	}
	wantWrite, wantReason := d.model.checkMarker(&c, version)
	write, err := d.s.CheckMarker(&c, version)
	if write != wantWrite || errcode.ReasonOf(err) != wantReason {
		d.Fatalf("marker %+v, version %d: %t, %v; the model says %t, %q", c, version, write, err, wantWrite, wantReason)
	}
	switch {
	case write:
		batch := record.ControlBatch(c)
		record.SetBaseOffset(batch, d.end)
		h, err := record.ParseHeader(batch)
		if err != nil {
			d.Fatal(err)
		}
		d.s.Apply(batch, &h, d.end)
		d.end++
		d.model.apply(h, &c)
	case err == nil:
		d.s.Ended(pid)
		delete(d.model.guards, pid)
	}
}

// restart goes through a snapshot; guards do not survive it.
func (d *drawn) restart(hw int64) {
	d.s.Undecided().First(hw)
	b := d.s.AppendSnapshot(nil, d.end)
	back, got, err := Restore(b, 1000, d.s.guards.next)
	if err != nil || got != d.end {
		d.Fatalf("restore: end %d, %v; want %d", got, err, d.end)
	}
	if again := back.AppendSnapshot(nil, d.end); !bytes.Equal(again, b) {
		d.Fatal("a restored state has another snapshot")
	}
	back.guards.first = 1000 // the model knows one life
	d.s = back
	d.model.guards = map[int64]naiveGuard{}
}

// replay holds invariant 27: the log alone gives the same state.
func (d *drawn) replay() {
	fresh := New(1000, 1)
	for i := range d.model.log {
		h := d.model.log[i]
		var batch []byte
		if h.Control() {
			batch = record.ControlBatch(d.model.marks[h.BaseOffset])
		}
		fresh.Apply(batch, &h, 0)
	}
	got, want := fresh.Describe(), d.s.Describe()
	for i := range want {
		want[i].TouchedMs = 0
		if i >= len(got) || got[i] != want[i] {
			d.Fatalf("replay gives %+v, the state is %+v", got, want)
		}
	}
	if len(got) != len(want) {
		d.Fatalf("replay gives %d producers, want %d", len(got), len(want))
	}
}
