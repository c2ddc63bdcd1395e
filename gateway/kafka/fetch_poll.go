package kafka

import (
	"context"
	"sync"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// poll is one Fetch under way at the nodes that lead its partitions.
//
// Where one node leads them all it is one call, which waits there. Where
// several do, they are asked without waiting, one after the other, so that
// limits hold over the sum; and while there is too little, each is asked to
// tell of one byte more than it gave.
type poll struct {
	s     *Server
	f     *fetched
	parts []*fetchPart
	until time.Time

	misled   bool // a leader was not found
	groups   []*pollGroup
	releases []func()
}

// pollGroup is the part of a poll that goes to one node.
type pollGroup struct {
	node  routing.Leader
	parts []*fetchPart
	epoch []int32
	size  int // bytes that it gave
	err   error
	resp  *storageclient.FetchResponse
}

func (p *poll) run(ctx context.Context) {
	p.until = p.s.clk.Now().Add(p.f.maxWait)
	ctx, end := context.WithTimeout(ctx, p.f.maxWait+p.s.cfg.CallTimeout)
	defer end()
	patience, cancel := context.WithTimeout(ctx, max(p.f.maxWait, fetchPatience))
	defer cancel()
	tries := p.s.router.Attempts()
	for {
		tries.Begin()
		p.group()
		p.read(ctx)
		if !(p.misled || p.misrouted()) || p.size() > 0 || p.s.polling.Err() != nil || !tries.Wait(patience) {
			return
		}
	}
}

// group looks the leaders up.
func (p *poll) group() {
	p.release()
	byNode := map[int32]*pollGroup{}
	p.groups, p.misled = p.groups[:0], false
	for _, part := range p.parts {
		l, err := p.s.router.Leader(part.where)
		if err != nil {
			part.fail(fetchCodeOf(err))
			p.misled = true
			continue
		}
		g := byNode[l.NodeID]
		if g == nil {
			g = &pollGroup{node: l}
			byNode[l.NodeID] = g
			p.groups = append(p.groups, g)
		}
		g.parts, g.epoch = append(g.parts, part), append(g.epoch, l.Epoch)
	}
}

// read asks the nodes until there is enough.
func (p *poll) read(ctx context.Context) {
	if len(p.groups) == 1 {
		p.ask(ctx, p.groups[0], p.f.minBytes, p.f.maxBytes, p.left())
		return
	}
	for {
		p.release()
		left := p.f.maxBytes
		for _, g := range p.groups {
			p.ask(ctx, g, 0, max(left, 0), 0)
			if left < p.f.maxBytes { // another gave something
				g.fit(left)
			}
			left -= g.size
		}
		if p.size() >= p.f.minBytes || p.failed() || p.left() <= 0 {
			return
		}
		p.waitForMore(ctx)
	}
}

// fit drops what is beyond a limit: each node gives its first batch whole, but
// of the answer only the first one is.
func (g *pollGroup) fit(limit int) {
	g.size = 0
	for _, part := range g.parts {
		if g.size+part.result.Size() > limit {
			part.drop()
		}
		g.size += part.result.Size()
	}
}

// waitForMore returns when one of the nodes has more than it gave, or the time
// is up.
func (p *poll) waitForMore(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := p.left()
	var wg sync.WaitGroup
	for _, g := range p.groups {
		req := g.request(p.f, min(g.size+1, p.f.maxBytes), p.f.maxBytes, wait)
		wg.Go(func() {
			defer cancel()
			if resp, err := p.call(ctx, g, req); err == nil {
				resp.Release()
			}
		})
	}
	wg.Wait()
}

// left is how much longer the poll may wait.
func (p *poll) left() time.Duration {
	if p.misled || p.s.polling.Err() != nil {
		return 0
	}
	return max(p.until.Sub(p.s.clk.Now()), 0)
}

func (g *pollGroup) request(f *fetched, minBytes, maxBytes int, wait time.Duration) *storageclient.FetchRequest {
	req := &storageclient.FetchRequest{
		Partitions: make([]storageclient.FetchPartition, len(g.parts)), MinBytes: minBytes, MaxBytes: maxBytes,
		MaxWaitMs: int32(wait.Milliseconds()), ReadCommitted: f.committed,
		Slices: f.version >= readsZstd && f.c.sendsFiles(),
	}
	for i, part := range g.parts {
		req.Partitions[i] = storageclient.FetchPartition{
			PartitionID: part.where, LeaderEpoch: g.epoch[i], Offset: part.offset, MaxBytes: part.maxBytes,
		}
		if part.last >= 0 {
			req.Partitions[i].LastFetchedEpoch = &part.last
		}
	}
	return req
}

// ask makes one call and takes what it gives.
func (p *poll) ask(ctx context.Context, g *pollGroup, minBytes, maxBytes int, wait time.Duration) {
	g.size = 0
	g.resp, g.err = p.call(ctx, g, g.request(p.f, minBytes, maxBytes, wait))
	for i, part := range g.parts {
		if g.err != nil {
			part.take(&storageclient.FetchResult{Err: g.err})
			continue
		}
		part.take(&g.resp.Results[i])
		g.size += part.result.Size()
	}
	if g.resp != nil {
		p.releases = append(p.releases, g.resp.Release)
	}
}

// call asks a node. A drain cuts a wait short; then it is asked again without.
func (p *poll) call(ctx context.Context, g *pollGroup, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	if req.MaxWaitMs > 0 {
		waiting, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(p.s.polling, cancel)
		resp, err := g.node.Fetch(waiting, req)
		cutOff := waiting.Err() != nil && ctx.Err() == nil
		stop()
		cancel()
		if err == nil || !cutOff {
			return g.sound(resp, err)
		}
		req.MaxWaitMs = 0
	}
	return g.sound(g.node.Fetch(ctx, req))
}

func (g *pollGroup) sound(resp *storageclient.FetchResponse, err error) (*storageclient.FetchResponse, error) {
	if err != nil {
		return nil, errcode.Of(err)
	}
	if err := sameCount(len(resp.Results), len(g.parts)); err != nil {
		resp.Release()
		return nil, err
	}
	return resp, nil
}

func (p *poll) size() (n int) {
	for _, g := range p.groups {
		n += g.size
	}
	return n
}

// failed tells whether a partition has something to say at once.
func (p *poll) failed() bool {
	for _, part := range p.parts {
		if part.code != 0 || part.result.Diverging != nil {
			return true
		}
	}
	return false
}

// misrouted tells whether a node was the wrong one, or did not answer.
func (p *poll) misrouted() bool {
	for _, g := range p.groups {
		if routing.Misrouted(g.err) || routing.Unreachable(g.err) {
			return true
		}
		for i := range g.parts {
			if g.resp != nil && routing.Misrouted(g.resp.Results[i].Err) {
				return true
			}
		}
	}
	return false
}

// release gives back what was read so far.
func (p *poll) release() {
	for _, release := range p.releases {
		release()
	}
	p.releases = nil
	for _, part := range p.parts {
		part.drop()
	}
}

// drop gives none of the batches.
func (p *fetchPart) drop() {
	p.result.Batches, p.result.Slice = nil, storageclient.FileSlice{}
}
