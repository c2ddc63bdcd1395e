package transactions

import (
	"context"
	"slices"
	"sync"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/storageclient"
)

// node is one storage node with one partition, which it leads: the producers
// are the real ones, the log is a list.
type node struct {
	*process
	w     *world
	index int // of the partition

	mu      sync.Mutex
	log     [][]byte
	end     int64
	high    int64 // high watermark
	state   *producer.State
	life    int64 // grows with each restart
	changed chan struct{}
}

func newNode(w *world, index int) *node {
	n := &node{process: &process{}, w: w, index: index, changed: make(chan struct{})}
	n.replay()
	return n
}

// replicates is how long it takes until the high watermark follows an append.
const replicates = 2 * time.Millisecond

// replay makes what is known of producers from the log, as after a restart.
func (n *node) replay() {
	n.life++
	n.state = producer.New(1000, n.life<<32)
	for _, b := range n.log {
		h, err := record.ParseHeader(b)
		if err != nil {
			panic(err)
		}
		n.state.Apply(b, &h, 1)
	}
}

// crash loses what is above the high watermark, and all guards.
func (n *node) crash() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = slices.DeleteFunc(n.log, func(b []byte) bool {
		h, err := record.ParseHeader(b)
		return err != nil || h.NextOffset() > n.high
	})
	n.end = n.high
	n.replay()
}

// write appends a batch; the high watermark follows, unless the node crashes
// before.
func (n *node) write(batch []byte, h *record.Header) int64 {
	record.SetBaseOffset(batch, n.end)
	h.BaseOffset = n.end
	n.log, n.end = append(n.log, batch), h.NextOffset()
	n.state.Apply(batch, h, time.Now().UnixMilli())
	end, life := n.end, n.life
	time.AfterFunc(replicates, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.life == life {
			n.high = max(n.high, end)
			close(n.changed)
			n.changed = make(chan struct{})
		}
	})
	return end
}

// wait returns once the high watermark has reached end.
func (n *node) wait(ctx context.Context, end int64, life int64) error {
	for {
		n.mu.Lock()
		high, now, changed := n.high, n.life, n.changed
		n.mu.Unlock()
		switch {
		case now != life:
			return errcode.New(errcode.NodeUnavailable, "the node restarted")
		case high >= end:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errcode.Of(ctx.Err())
		}
	}
}

// append is Storage.Append for the node's one partition.
func (n *node) append(ctx context.Context, in *storageclient.AppendPartition) storageclient.AppendResult {
	none := storageclient.AppendResult{BaseOffset: -1, LogAppendTimeMs: -1}
	batch := slices.Clone(in.Batch)
	h, err := record.Verify(batch)
	if err != nil {
		none.Err = errcode.Wrap(err, errcode.CorruptRecord, "%v", err)
		return none
	}
	n.mu.Lock()
	verdict, err := n.state.Check(&h, producer.Request{Guard: in.Guard, TransactionVersion: in.TransactionVersion, NowMs: time.Now().UnixMilli()})
	life, end, duplicate := n.life, int64(0), false
	switch {
	case err == nil && verdict.Duplicate != nil:
		end, duplicate = verdict.Duplicate.LastOffset+1, true
	case err == nil && verdict.VerifyGuard == 0:
		end = n.write(batch, &h)
	}
	n.mu.Unlock()
	switch {
	case err != nil:
		none.Err = err
		return none
	case verdict.VerifyGuard != 0:
		n.w.reach("guard created", n)
		none.VerifyGuard = verdict.VerifyGuard
		return none
	}
	n.w.reach("batch appended", n)
	if err := n.wait(ctx, end, life); err != nil {
		none.Err = err
		return none
	}
	n.w.reach("batch below the high watermark", n)
	return storageclient.AppendResult{BaseOffset: end - int64(h.Count), LogAppendTimeMs: -1, Duplicate: duplicate}
}

// mark is Storage.WriteMarkers for the node's one partition.
func (n *node) mark(ctx context.Context, m *storageclient.Marker) error {
	c := record.Control{
		Type: record.Abort, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, CoordinatorEpoch: int32(m.CoordinatorEpoch), Timestamp: time.Now().UnixMilli(),
	}
	if m.Commit {
		c.Type = record.Commit
	}
	n.mu.Lock()
	write, err := n.state.CheckMarker(&c, m.TransactionVersion)
	life, end := n.life, n.end
	if err == nil && write {
		batch := record.ControlBatch(c)
		h, bad := record.ParseHeader(batch)
		if bad != nil {
			panic(bad)
		}
		end = n.write(batch, &h)
	} else if err == nil {
		n.state.Ended(m.ProducerID)
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if n.index == 0 {
		n.w.reach("marker appended on one of n", n.w.nodes[1])
	}
	return n.wait(ctx, end, life)
}

// nodeDoor is a node as another process sees it.
type nodeDoor struct {
	storageclient.Storage
	n    *node
	from *process
}

func (d nodeDoor) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	return rpc(ctx, d.from, d.n.process, func(ctx context.Context) (*storageclient.AppendResponse, error) {
		resp := &storageclient.AppendResponse{}
		for i := range req.Partitions {
			resp.Results = append(resp.Results, d.n.append(ctx, &req.Partitions[i]))
		}
		return resp, nil
	})
}

func (d nodeDoor) WriteMarkers(ctx context.Context, req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	d.n.w.reach("marker sent", nil)
	return rpc(ctx, d.from, d.n.process, func(ctx context.Context) (*storageclient.WriteMarkersResponse, error) {
		resp := &storageclient.WriteMarkersResponse{}
		for i := range req.Markers {
			r := storageclient.MarkerResult{}
			for range req.Markers[i].Partitions {
				r.Errs = append(r.Errs, d.n.mark(ctx, &req.Markers[i]))
			}
			resp.Results = append(resp.Results, r)
		}
		return resp, nil
	})
}

// committed are the values that a committed read of the whole partition finds,
// and whether all transactions in it have ended.
func (n *node) committed() (values []string, ended bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	type at struct {
		offset int64
		value  string
	}
	open := map[int64][]at{}
	var seen []at
	for _, b := range n.log {
		h, err := record.ParseHeader(b)
		if err != nil {
			panic(err)
		}
		if h.Control() {
			if c, err := record.ParseControl(b); err == nil && c.Type == record.Commit {
				seen = append(seen, open[h.ProducerID]...)
			}
			delete(open, h.ProducerID)
			continue
		}
		err = record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
			open[h.ProducerID] = append(open[h.ProducerID], at{r.Offset, string(r.Value)})
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	slices.SortFunc(seen, func(a, b at) int { return int(a.offset - b.offset) })
	for _, s := range seen {
		values = append(values, s.value)
	}
	return values, len(open) == 0
}
