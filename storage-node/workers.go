package storagenode

import (
	"sync"

	"moldau.dev/services/telemetry"
)

// workers make replicas what their roles say and work on what leaders send: a
// few goroutines for all partitions, each partition with one at a time, so that
// one with a slow disk holds up no stream (G1). They live while there is work.
type workers struct {
	most int

	mu      sync.Mutex
	queue   []*partition
	running sync.WaitGroup
	count   int
	ended   bool
}

// parcelsAtOnce is how many parcels of one partition are worked on before it is
// the others' turn.
const parcelsAtOnce = 16

// add has a partition worked on.
func (w *workers) add(p *partition) {
	if !p.replica.queued.Swap(true) {
		w.push(p)
	}
}

func (w *workers) push(p *partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.queue = append(w.queue, p)
	if w.count < w.most {
		w.count++
		w.running.Go(w.run)
	}
}

// run works until there is nothing to do.
func (w *workers) run() {
	for p := w.next(); p != nil; p = w.next() {
		if p.work() {
			w.push(p)
		}
	}
}

// next takes a partition off the queue; nil ends a worker.
func (w *workers) next() *partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.ended {
		w.count--
		return nil
	}
	p := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	return p
}

// stop waits for those who work; what is queued is left.
func (w *workers) stop() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.running.Wait()
}

// work does what there is to do, and reports whether there is more.
func (p *partition) work() bool {
	for range parcelsAtOnce {
		l, err := p.open()
		if err != nil {
			p.node.log.Debug("replica cannot be opened", telemetry.Path(p.dir), telemetry.Err(err))
			p.giveUp()
			return false
		}
		parcel, more := p.nextParcel()
		if !more {
			return false
		}
		if parcel != nil {
			p.unpack(l, parcel)
		}
	}
	return true
}

// nextParcel takes the next one off the inbox; nil where the replica must first
// become something else. more is false where all is done: then the partition may
// be queued again.
func (p *partition) nextParcel() (next *parcel, more bool) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.inbox) > 0 {
		next = &r.inbox[0]
		r.inbox = r.inbox[1:]
		return next, true
	}
	r.queued.Store(false)
	// Whoever gives it another role after this look queues it again.
	return nil, !r.is(p.tenure()) && !r.queued.Swap(true)
}

// giveUp lets go of what a replica that cannot be opened was sent.
func (p *partition) giveUp() {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	p.resign()
	r.queued.Store(false)
}
