package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// history is what a log was told to do, and what it promised.
type history struct {
	t       testing.TB
	fs      *vfs.Memory
	batches [][]byte // by order of offset; without gaps
	others  [][]byte // another ending that the log may have after a crash
	synced  int64    // offset
	start   int64    // log start that was promised
	asked   int64    // log start that was asked for
	epoch   int32
}

func (h *history) end() int64 { return endOf(h.batches) }

func endOf(batches [][]byte) int64 {
	if len(batches) == 0 {
		return 0
	}
	header, err := record.ParseHeader(batches[len(batches)-1])
	if err != nil {
		panic(err)
	}
	return header.NextOffset()
}

func (h *history) append(l *Log, n int) error {
	b := batchAt(h.t, l.EndOffset(), n, h.epoch)
	header, err := record.ParseHeader(b)
	if err != nil {
		return err
	}
	h.batches = append(h.batches, b) // a failed write may have reached the disk
	return l.Append(b, header, noon)
}

// check opens the log after a power loss and holds it against the history.
func (h *history) check(what string) {
	h.t.Helper()
	l, rec, err := Open(h.fs, "p", small, NewFileCache(4))
	if err != nil {
		h.t.Fatalf("%s: open: %v", what, err)
	}
	if l.StartOffset() < h.start || l.StartOffset() > h.asked {
		h.t.Fatalf("%s: the log starts at %d, promised was %d, asked for %d", what, l.StartOffset(), h.start, h.asked)
	}
	if l.EndOffset() < h.synced {
		h.t.Fatalf("%s: the log ends at %d, synced was %d; %+v", what, l.EndOffset(), h.synced, rec)
	}
	got := readAll(h.t, l)
	if !h.isPrefix(l, h.batches, got) && (h.others == nil || !h.isPrefix(l, h.others, got)) {
		h.t.Fatalf("%s: [%d, %d) is no prefix of what was appended; %+v", what, l.StartOffset(), l.EndOffset(), rec)
	}
	for epoch := range h.epoch + 1 { // the cache equals what a rebuild gives
		if at, end := l.EndOffsetForEpoch(epoch); at > epoch || end > l.EndOffset() {
			h.t.Fatalf("%s: epoch %d ends at (%d, %d) in a log that ends at %d", what, epoch, at, end, l.EndOffset())
		}
	}
	h.usable(what)
}

func (h *history) isPrefix(l *Log, batches [][]byte, got []byte) bool {
	var want []byte
	end := int64(0)
	for _, b := range batches {
		header, err := record.ParseHeader(b)
		if err != nil {
			h.t.Fatal(err)
		}
		if header.NextOffset() > l.EndOffset() {
			break
		}
		end = header.NextOffset()
		if header.NextOffset() > l.StartOffset() {
			want = append(want, b...)
		}
	}
	return end == l.EndOffset() && bytes.Equal(got, want)
}

// usable appends and syncs, and starts once more: no state is left that works
// for one life only.
func (h *history) usable(what string) {
	h.t.Helper()
	l, _, err := Open(h.fs, "p", small, NewFileCache(4))
	if err != nil {
		h.t.Fatalf("%s: second open: %v", what, err)
	}
	end := l.EndOffset()
	b := batchAt(h.t, end, 2, h.epoch+1)
	header, _ := record.ParseHeader(b)
	if err := l.Append(b, header, noon); err != nil {
		h.t.Fatalf("%s: append: %v", what, err)
	}
	if _, err := l.Sync(); err != nil {
		h.t.Fatalf("%s: sync: %v", what, err)
	}
	again, _, err := Open(h.fs, "p", small, NewFileCache(4))
	if err != nil || again.EndOffset() != end+2 {
		h.t.Fatalf("%s: third open: ends at %d, want %d: %v", what, again.EndOffset(), end+2, err)
	}
	if err := again.Truncate(end); err != nil {
		h.t.Fatalf("%s: truncate: %v", what, err)
	}
}

// crashEverywhere runs story with a crash after every write to the disk, and
// after each a power loss under several seeds.
func crashEverywhere(t *testing.T, seeds uint64, story func(h *history) error) {
	for step := 1; ; step++ {
		whole := false
		for seed := range seeds {
			h := &history{t: t, fs: vfs.NewMemory()}
			h.fs.CrashAtStep(step)
			err := story(h)
			whole = err == nil
			if err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("step %d: %v", step, err)
			}
			h.fs.PowerLoss(rand.New(rand.NewPCG(seed, uint64(step))))
			h.check(fmt.Sprintf("crash at step %d, seed %d", step, seed))
		}
		if whole {
			return
		}
	}
}

func (h *history) open() (*Log, error) {
	l, _, err := Open(h.fs, "p", small, NewFileCache(4))
	return l, err
}

func (h *history) sync(l *Log) error {
	end, err := l.Sync()
	if err == nil {
		h.synced = end
	}
	return err
}

func (h *history) deleteBefore(l *Log, offset int64) error {
	h.asked = max(h.asked, offset)
	err := l.DeleteBefore(offset)
	if err == nil {
		h.start = max(h.start, offset)
		h.synced = max(h.synced, offset)
	}
	return err
}

// several runs steps until one fails.
func several(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) appends(l *Log, n int) func() error {
	return func() error {
		for i := range n {
			if err := h.append(l, 1+i%3); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestCrashAtEveryStepOfALife(t *testing.T) {
	crashEverywhere(t, 12, func(h *history) error {
		l, err := h.open()
		if err != nil {
			return err
		}
		err = several(
			h.appends(l, 7),
			func() error { return h.sync(l) },
			h.appends(l, 9),
			l.Roll,
			h.appends(l, 2),
			func() error { return h.deleteBefore(l, 9) },
			func() error { h.epoch = 1; return l.StartEpoch(1, l.EndOffset()) },
			h.appends(l, 4),
			func() error { return h.deleteBefore(l, l.EndOffset()-1) },
			h.appends(l, 3),
			l.Close,
		)
		if err != nil {
			return err
		}
		h.synced = l.EndOffset()
		if l, err = h.open(); err != nil {
			return err
		}
		return several(h.appends(l, 12), func() error { return h.sync(l) })
	})
}

// Nothing is synced before there are several segments.
func TestCrashAtEveryStepOfALogThatRollsBeforeItsFirstSync(t *testing.T) {
	crashEverywhere(t, 12, func(h *history) error {
		l, err := h.open()
		if err != nil {
			return err
		}
		return several(h.appends(l, 5), l.Roll, h.appends(l, 20), func() error { return h.sync(l) }, h.appends(l, 3))
	})
}

// The power goes twice, and no Sync has made a checkpoint.
func TestCrashAtEveryStepOfAYoungLog(t *testing.T) {
	crashEverywhere(t, 12, func(h *history) error {
		l, err := h.open()
		if err != nil {
			return err
		}
		err = several(h.appends(l, 2), func() error { return h.sync(l) }, h.appends(l, 1))
		if err != nil {
			return err
		}
		if l, err = h.open(); err != nil { // killed
			return err
		}
		err = several(h.appends(l, 1), func() error { return h.sync(l) })
		if err != nil {
			return err
		}
		if len(h.batches) > 0 && l.SegmentCount() != 1 {
			h.t.Fatalf("%d segments", l.SegmentCount())
		}
		return h.deleteBefore(l, 2)
	})
}

func TestCrashAtEveryStepOfATruncation(t *testing.T) {
	for _, synced := range []bool{true, false} {
		crashEverywhere(t, 8, func(h *history) error {
			l, err := h.open()
			if err != nil {
				return err
			}
			if err := h.appends(l, 14)(); err != nil {
				return err
			}
			if synced {
				if err := h.sync(l); err != nil {
					return err
				}
			}
			if err := h.appends(l, 2)(); err != nil {
				return err
			}
			const keep = 5
			h.others, h.batches = h.batches, h.batches[:keep:keep]
			cut := h.end()
			h.synced = min(h.synced, cut)
			if err := l.Truncate(cut); err != nil {
				return err
			}
			if l.EndOffset() != cut || l.LatestEpoch() != 0 {
				h.t.Fatalf("truncated to %d: ends at %d, epoch %d", cut, l.EndOffset(), l.LatestEpoch())
			}
			h.others, h.epoch = nil, 3
			return several(h.appends(l, 11), func() error { return h.sync(l) })
		})
	}
}

func TestCrashAtEveryStepOfAReset(t *testing.T) {
	for step := 1; ; step++ {
		h := &history{t: t, fs: vfs.NewMemory()}
		h.fs.CrashAtStep(step)
		var reset bool
		err := func() error {
			l, err := h.open()
			if err != nil {
				return err
			}
			return several(h.appends(l, 10), func() error { return l.Reset(500) }, func() error { reset = true; return nil })
		}()
		h.fs.PowerLoss(rand.New(rand.NewPCG(7, uint64(step))))
		l, openErr := h.open()
		if openErr != nil {
			t.Fatalf("step %d: %v", step, openErr)
		}
		if at500 := l.StartOffset() == 500 && l.EndOffset() >= 500; l.StartOffset() != 0 && !at500 || reset && !at500 {
			t.Fatalf("step %d: [%d, %d)", step, l.StartOffset(), l.EndOffset())
		}
		if err == nil {
			return
		}
	}
}

// Invariant 28 over many lives in one directory, with a lost power between.
func TestManyLivesWithLostPower(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 28))
		h := &history{t: t, fs: vfs.NewMemory()}
		for life := range 5 {
			h.check(fmt.Sprintf("seed %d, life %d", seed, life))
			l, err := h.open()
			if err != nil {
				t.Fatal(err)
			}
			for len(h.batches) > 0 && h.end() > l.EndOffset() {
				h.batches = h.batches[:len(h.batches)-1]
			}
			h.epoch += 2
			h.fs.CrashAtStep(h.fs.Steps() + 1 + r.IntN(60))
			for err == nil {
				switch r.IntN(9) {
				case 0, 1:
					err = h.sync(l)
				case 2:
					err = h.deleteBefore(l, l.StartOffset()+r.Int64N(l.EndOffset()-l.StartOffset()+1))
				case 3:
					err = l.Roll()
				default:
					err = h.append(l, 1+r.IntN(4))
				}
			}
			if !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			h.fs.PowerLoss(r)
		}
	}
}
