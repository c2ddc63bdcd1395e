package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

// consumer reads as Kafka's clients do: it skips the batches of the producers
// whose aborted transactions have begun, until their markers.
type consumer struct {
	t     testing.TB
	limit func() int // bytes of a fetch
}

// committed returns the values at the offsets of [from, bound) that a committed
// reader sees.
func (c consumer) committed(l *Log, from, bound int64) map[int64]string {
	c.t.Helper()
	seen := map[int64]string{}
	for from < bound {
		b, aborted, err := l.ReadCommitted(from, bound, c.limit(), true, nil)
		if err != nil {
			c.t.Fatalf("committed read at %d: %v", from, err)
		}
		if !slices.IsSortedFunc(aborted, func(a, b Aborted) int { return int(a.First - b.First) }) {
			c.t.Fatalf("aborted transactions are not in order: %v", aborted)
		}
		if len(b) == 0 {
			break // the rest was compacted away
		}
		skip := map[int64]bool{}
		for len(b) > 0 {
			batch, rest, h, err := record.Next(b)
			if err != nil {
				c.t.Fatal(err)
			}
			for len(aborted) > 0 && aborted[0].First <= h.LastOffset() {
				skip[aborted[0].ProducerID], aborted = true, aborted[1:]
			}
			c.batch(batch, &h, from, skip, seen)
			b, from = rest, h.NextOffset()
		}
	}
	return seen
}

func (c consumer) batch(batch []byte, h *record.Header, from int64, skip map[int64]bool, seen map[int64]string) {
	if h.Control() {
		if m, err := record.ParseControl(batch); err != nil {
			c.t.Fatal(err)
		} else if m.Type == record.Abort {
			delete(skip, h.ProducerID)
		}
		return
	}
	if h.Transactional() && skip[h.ProducerID] {
		return
	}
	err := record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
		if r.Offset >= from {
			seen[r.Offset] = string(r.Value)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// life is a log with the model of its transactions.
type life struct {
	*rapid.T
	t     testing.TB
	fs    *vfs.Memory
	l     *Log
	lines []line          // what was appended, in order
	open  map[int64]int64 // first offset by producer
	seq   map[int64]int32
	key   int
	clean int64 // compaction has seen all before, so it is below the high watermark
}

// line is a record or marker; what becomes of a record is told by the first
// marker of its producer after it.
type line struct {
	offset, pid int64
	txn, marker bool
	commit      bool
	value       string
}

// want is what a committed reader sees of [from, bound), all before bound being
// decided.
func (v *life) want(from, bound int64) map[int64]string {
	seen := map[int64]string{}
	for i, x := range v.lines {
		if x.marker || x.offset < from || x.offset >= bound {
			continue
		}
		committed := !x.txn
		for _, y := range v.lines[i:] {
			if y.marker && y.pid == x.pid {
				committed = committed || y.commit
				break
			}
		}
		if committed {
			seen[x.offset] = x.value
		}
	}
	return seen
}

// stable is the first offset that is not decided.
func (v *life) stable() int64 {
	stable := v.l.EndOffset()
	for _, first := range v.open {
		stable = min(stable, first)
	}
	return max(stable, v.l.StartOffset())
}

func (v *life) send() {
	pid := rapid.Int64Range(0, 3).Draw(v.T, "producer")
	_, open := v.open[pid]
	txn := open || pid > 0 && rapid.Bool().Draw(v.T, "transactional")
	opts := record.DefaultBuilderOptions()
	if txn {
		opts = producer(pid, v.seq[pid], true)
	}
	v.key++ // each its own, so that compaction takes nothing but what was aborted
	value := fmt.Sprintf("v%d", v.key)
	h := put(v.t, v.l, keyed(v.t, opts, fmt.Sprintf("k%d=%s", v.key, value)))
	v.lines = append(v.lines, line{offset: h.BaseOffset, pid: pid, txn: txn, value: value})
	v.seq[pid]++
	if txn && !open {
		v.open[pid] = h.BaseOffset
	}
}

func (v *life) end() {
	pid := rapid.Int64Range(1, 3).Draw(v.T, "producer")
	commit := rapid.Bool().Draw(v.T, "commit")
	kind := record.Abort
	if commit {
		kind = record.Commit
	}
	h := put(v.t, v.l, record.ControlBatch(record.Control{Type: kind, ProducerID: pid, Timestamp: noon.UnixMilli()}))
	v.lines = append(v.lines, line{offset: h.BaseOffset, pid: pid, marker: true, commit: commit})
	delete(v.open, pid)
}

// cut truncates the log as a follower does.
func (v *life) cut() {
	to := rapid.Int64Range(max(v.l.StartOffset(), v.clean), v.l.EndOffset()).Draw(v.T, "truncate to")
	if err := v.l.Truncate(to); err != nil {
		v.Fatal(err)
	}
	v.forget(to)
}

func (v *life) forget(end int64) {
	v.lines = slices.DeleteFunc(v.lines, func(x line) bool { return x.offset >= end })
	v.open = map[int64]int64{}
	for _, x := range v.lines {
		_, open := v.open[x.pid]
		switch {
		case x.marker:
			delete(v.open, x.pid)
		case x.txn && !open:
			v.open[x.pid] = x.offset
		}
	}
}

func (v *life) reopen() {
	var err error
	switch rapid.IntRange(0, 2).Draw(v.T, "how") {
	case 0:
		err = v.l.Close()
	case 1: // killed
	case 2:
		_, err = v.l.Sync()
		v.fs.PowerLoss(rand.New(rand.NewPCG(rapid.Uint64().Draw(v.T, "power loss"), 1)))
	}
	if err != nil {
		v.Fatal(err)
	}
	v.l = open(v.t, v.fs, small)
	v.forget(v.l.EndOffset())
}

// T12, invariant 28: whatever happened to the log and its files, a committed
// reader sees what was committed and nothing else.
func TestCommittedReaderSeesWhatWasCommitted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := &life{T: rt, t: t, fs: vfs.NewMemory(), open: map[int64]int64{}, seq: map[int64]int32{}}
		v.l = open(t, v.fs, small)
		now := noon
		c := consumer{t, func() int { return rapid.IntRange(1, 900).Draw(rt, "limit") }}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			switch rapid.IntRange(0, 15).Draw(rt, "step") {
			case 0, 1, 2:
				v.end()
			case 3:
				if err := v.l.Roll(); err != nil {
					rt.Fatal(err)
				}
			case 4:
				v.reopen()
			case 5:
				if rapid.IntRange(0, 3).Draw(rt, "cut") == 0 {
					v.cut()
				}
			case 6:
				to := rapid.Int64Range(v.l.StartOffset(), v.stable()).Draw(rt, "delete before")
				if err := v.l.DeleteBefore(to); err != nil {
					rt.Fatal(err)
				}
			case 7:
				now, v.clean = now.Add(40*time.Minute), v.l.EndOffset()
				if _, err := Compact(v.l, CompactOptions{Now: now, DeleteRetention: time.Hour, Bound: v.stable()}); err != nil {
					rt.Fatal(err)
				}
			case 8:
				from := rapid.Int64Range(v.l.StartOffset(), v.l.EndOffset()).Draw(rt, "from")
				bound := rapid.Int64Range(from, max(from, v.stable())).Draw(rt, "bound")
				if bound > v.stable() {
					continue
				}
				got, want := c.committed(v.l, from, bound), v.want(from, bound)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					rt.Fatalf("[%d, %d) reads as %v, want %v", from, bound, got, want)
				}
			default:
				v.send()
			}
		}
		for pid := range v.open {
			put(t, v.l, record.ControlBatch(record.Control{Type: record.Abort, ProducerID: pid}))
		}
		end := v.l.EndOffset()
		got, want := c.committed(v.l, v.l.StartOffset(), end), v.want(v.l.StartOffset(), end)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("the whole log reads as %v, want %v", got, want)
		}
	})
}

func abort(t testing.TB, l *Log, pid int64) int64 {
	t.Helper()
	return put(t, l, record.ControlBatch(record.Control{Type: record.Abort, ProducerID: pid})).BaseOffset
}

func data(t testing.TB, l *Log, pid int64) int64 {
	t.Helper()
	return put(t, l, keyed(t, producer(pid, 0, true), "k=v")).BaseOffset
}

func abortedIn(t testing.TB, l *Log, from, to int64) []Aborted {
	t.Helper()
	l.shape.RLock()
	defer l.shape.RUnlock()
	got, err := l.aborted(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// interleaved is a log of several segments in which aborted transactions begin
// in one and end in another.
func interleaved(t testing.TB, fs vfs.FS) (*Log, []Aborted) {
	t.Helper()
	l := open(t, fs, small)
	var all []Aborted
	one := data(t, l, 1)
	roll := func() {
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	roll()
	two := data(t, l, 2)
	data(t, l, 3)
	roll()
	put(t, l, record.ControlBatch(record.Control{Type: record.Commit, ProducerID: 3}))
	all = append(all, Aborted{2, two, abort(t, l, 2)})
	roll()
	two = data(t, l, 2)
	all = append(all, Aborted{1, one, abort(t, l, 1)}, Aborted{2, two, abort(t, l, 2)})
	abort(t, l, 9) // nothing of it is here
	slices.SortFunc(all, func(a, b Aborted) int { return int(a.First - b.First) })
	return l, all
}

func TestAbortedListCoversTheWholeRange(t *testing.T) { // T12
	l, all := interleaved(t, vfs.NewMemory())
	for from := range l.EndOffset() {
		for to := from + 1; to <= l.EndOffset(); to++ {
			var want []Aborted
			for _, a := range all {
				if a.First < to && a.Last >= from {
					want = append(want, a)
				}
			}
			if got := abortedIn(t, l, from, to); !slices.Equal(got, want) {
				t.Fatalf("[%d, %d): %v, want %v", from, to, got, want)
			}
		}
	}
}

func TestTransactionIndexesAreMadeAgain(t *testing.T) { // invariant 28
	for name, harm := range map[string]func(fs vfs.FS, file string) error{
		"missing": func(fs vfs.FS, file string) error { return fs.Remove(file) },
		"damaged": func(fs vfs.FS, file string) error {
			f, err := fs.Open(file)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0xff}, 50)
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMemory()
			l, all := interleaved(t, fs)
			end := l.EndOffset()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			n := 0
			names, err := fs.List("p")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range names {
				if _, ok := parseBase(file, txnIndexSuffix); ok {
					n++
					if err := harm(fs, "p/"+file); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n != 4 {
				t.Fatalf("%d segments have an index of transactions, want 4", n)
			}
			if got := abortedIn(t, open(t, fs, small), 0, end); !slices.Equal(got, all) {
				t.Fatalf("made again it tells %v, want %v", got, all)
			}
		})
	}
}

func TestTransactionIndexIsReadFromItsFile(t *testing.T) {
	fs := vfs.NewMemory()
	l, all := interleaved(t, fs)
	end := l.EndOffset()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, fs, small)
	l.shape.RLock()
	for _, s := range l.list() {
		if l.loadTxns(s) == nil {
			t.Errorf("%s is not usable", s.txnIndexName())
		}
	}
	l.shape.RUnlock()
	if got := abortedIn(t, l, 0, end); !slices.Equal(got, all) {
		t.Fatalf("got %v, want %v", got, all)
	}
}

func FuzzDecodeTxns(f *testing.F) {
	whole := &txnIndex{aborted: []Aborted{{1, 2, 5}, {1, 6, 9}}, open: map[int64]int64{3: 4, 7: 8}}
	f.Add(whole.encode(0, 1000, tail{900, 77}))
	f.Add((*txnIndex)(nil).after().encode(0, 1000, tail{-1, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, end, ok := decodeTxns(b, 0, 1000); ok && string(x.encode(0, 1000, end)) != string(b) {
			t.Fatal("accepted bytes are not those that the index writes")
		}
	})
}

func TestAnyFlippedBitOfATransactionIndexIsSeen(t *testing.T) {
	whole := (&txnIndex{aborted: []Aborted{{1, 2, 5}}, open: map[int64]int64{3: 4}}).encode(7, 1000, tail{900, 77})
	if _, _, ok := decodeTxns(whole, 7, 1000); !ok {
		t.Fatal("the index is not read back")
	}
	for i := range len(whole) * 8 {
		b := slices.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, _, ok := decodeTxns(b, 7, 1000); ok {
			t.Fatalf("bit %d flipped goes unnoticed", i)
		}
	}
}

// Invariant 28 for committed reads: a crash at any write, with power loss,
// leaves a log whose committed records are those of its prefix.
func TestCommittedReaderAfterACrashAtEveryStep(t *testing.T) {
	for step, whole := 1, false; !whole; step++ {
		for seed := range uint64(4) {
			v := &life{t: t, fs: vfs.NewMemory()}
			v.fs.CrashAtStep(step)
			err := v.story(t)
			whole = err == nil
			if err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("step %d: %v", step, err)
			}
			v.fs.PowerLoss(rand.New(rand.NewPCG(seed, uint64(step))))
			v.l = open(t, v.fs, small)
			v.forget(v.l.EndOffset())
			from, bound := v.l.StartOffset(), v.stable()
			got := consumer{t, func() int { return 300 }}.committed(v.l, from, bound)
			if want := v.want(from, bound); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("step %d, seed %d: [%d, %d) reads as %v, want %v", step, seed, from, bound, got, want)
			}
		}
	}
}

// story appends transactions of three producers, over several segments, and
// does to the log what is done to logs.
func (v *life) story(t testing.TB) error {
	l, _, err := Open(v.fs, "p", small, NewFileCache(4))
	if err != nil {
		return err
	}
	for i := range 60 {
		pid := int64(1 + i%3)
		x := line{pid: pid, txn: true, marker: i%10 > 6, commit: i%20 > 10, value: fmt.Sprintf("v%d", i)}
		b := keyed(t, producer(pid, int32(i), true), fmt.Sprintf("k%d=%s", i, x.value))
		if x.marker {
			kind := record.Abort
			if x.commit {
				kind = record.Commit
			}
			b = record.ControlBatch(record.Control{Type: kind, ProducerID: pid})
		}
		x.offset = l.EndOffset()
		record.SetBaseOffset(b, x.offset)
		record.SetLeaderEpoch(b, 0)
		h, err := record.ParseHeader(b)
		if err != nil {
			return err
		}
		v.lines = append(v.lines, x) // a failed write may have reached the disk
		if err := l.Append(b, h, noon); err != nil {
			return err
		}
		if err := v.care(l, i); err != nil {
			return err
		}
	}
	return l.Close()
}

func (v *life) care(l *Log, i int) error {
	switch i {
	case 15, 33, 50:
		_, err := l.Sync()
		return err
	case 29, 59: // three markers are just written: nothing is open
		_, err := Compact(l, CompactOptions{Now: noon.Add(time.Duration(i) * time.Hour), DeleteRetention: time.Hour, Bound: l.EndOffset()})
		return err
	case 39:
		return l.DeleteBefore(12)
	case 44:
		return l.Roll()
	}
	return nil
}
