package storagenode

import (
	"sync"
	"sync/atomic"
)

// flusher makes appends durable, many at once: while one round of fsyncs runs,
// the partitions that are written to gather for the next, which starts when
// the round ends. There is no timer: a lone append is flushed at once, and
// under load rounds grow by themselves.
type flusher struct {
	parallel int
	observe  func(partitions int)

	mu    sync.Mutex
	dirty []*partition
	kick  chan struct{} // holds one token where dirty is not empty
	ended chan struct{}
	quit  chan struct{}
}

func newFlusher(parallel int, observe func(partitions int)) *flusher {
	return &flusher{
		parallel: parallel, observe: observe,
		kick: make(chan struct{}, 1), ended: make(chan struct{}), quit: make(chan struct{}),
	}
}

// mark asks for a flush of p; whatever p appended before the call is in it.
func (f *flusher) mark(p *partition) {
	if p.dirty.Swap(true) {
		return // its flush has not begun yet
	}
	f.mu.Lock()
	f.dirty = append(f.dirty, p)
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run flushes until stop; what was marked before stop is flushed.
func (f *flusher) run() {
	defer close(f.ended)
	var round []*partition
	for {
		select {
		case <-f.kick:
			round = f.round(round)
		case <-f.quit:
			f.round(round)
			return
		}
	}
}

// stop ends run after a last round.
func (f *flusher) stop() {
	close(f.quit)
	<-f.ended
}

// round flushes what is dirty now. It takes the slice of the round before to
// gather the next one in, and returns its own.
func (f *flusher) round(spare []*partition) []*partition {
	f.mu.Lock()
	round := f.dirty
	f.dirty = spare[:0]
	f.mu.Unlock()
	if len(round) == 0 {
		return round
	}
	f.observe(len(round))
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; int(i) < len(round); i = next.Add(1) - 1 {
			round[i].dirty.Store(false) // before the flush: what comes during it wants another
			round[i].flush()
		}
	}
	var others sync.WaitGroup
	for range min(f.parallel, len(round)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	clear(round)
	return round
}
