package markers

import (
	"context"
	"sync"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

const (
	// mostCalls to one node are under way at once: one that waits for a slow
	// partition does not hold the others up.
	mostCalls = 4
	// mostPartitions of one call, beyond the markers of one transaction.
	mostPartitions = 2000
)

// queue is the way to one node. What comes while all its calls are under way
// goes into the next one together.
type queue struct {
	s    *Sender
	node int32

	mu      sync.Mutex
	waiting []*entry
	calls   int
}

// entry is one marker on its way.
type entry struct {
	marker storageclient.Marker
	done   chan struct{}
	errs   []error // of each partition, once done is closed; nil where err is not
	err    error
}

func (s *Sender) queueOf(node int32) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.nodes[node]
	if q == nil {
		q = &queue{s: s, node: node}
		s.nodes[node] = q
	}
	return q
}

// add has a marker written and returns what came of it at each partition, or
// why that is not known.
func (q *queue) add(ctx context.Context, m storageclient.Marker) ([]error, error) {
	e := &entry{marker: m, done: make(chan struct{})}
	q.mu.Lock()
	q.waiting = append(q.waiting, e)
	if q.calls < mostCalls {
		q.calls++
		q.s.running.Go(q.run)
	}
	q.mu.Unlock()
	select {
	case <-e.done:
		return e.errs, e.err
	case <-ctx.Done():
		return nil, ctx.Err() // it may be written all the same, which does no harm
	}
}

// run calls the node until nothing waits.
func (q *queue) run() {
	for group := q.take(); len(group) > 0; group = q.take() {
		q.call(group)
	}
}

// take removes what goes into the next call. Nothing ends the goroutine.
func (q *queue) take() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, partitions := 0, 0
	for n < len(q.waiting) && (n == 0 || partitions < mostPartitions) {
		partitions += len(q.waiting[n].marker.Partitions)
		n++
	}
	group := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	if n == 0 {
		q.calls--
	}
	return group
}

func (q *queue) call(group []*entry) {
	req := &storageclient.WriteMarkersRequest{Markers: make([]storageclient.Marker, len(group))}
	for i, e := range group {
		req.Markers[i] = e.marker
	}
	resp, err := q.ask(req)
	for i, e := range group {
		switch {
		case err != nil:
			e.err = err
		case len(resp.Results) != len(group) || len(resp.Results[i].Errs) != len(e.marker.Partitions):
			e.err = errcode.New(errcode.Internal, "node %d answered for other markers than it was asked for", q.node)
		default:
			e.errs = resp.Results[i].Errs
		}
		close(e.done)
	}
}

func (q *queue) ask(req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	node, err := q.s.deps.Nodes.Node(q.node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := q.s.bounded(q.s.life)
	defer cancel()
	return node.WriteMarkers(ctx, req)
}
