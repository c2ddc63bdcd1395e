package storagenode

import (
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

// parcel is one thing that a leader sent for one session.
type parcel struct {
	link   *link
	handle uint32
	event  replication.Event
	// batches come with a Data event, and lie in frame.
	batches []byte
	frame   *storageclient.LeaderFrame
}

func (c *parcel) release() {
	if c.frame != nil {
		c.frame.Release()
		c.frame = nil
	}
}

// deliver puts a parcel into the inbox, unless its session is over.
func (p *partition) deliver(c parcel) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link != c.link || r.handle != c.handle {
		c.release()
		return
	}
	r.inbox = append(r.inbox, c)
	p.node.workers.add(p)
}

// unpack lets the core see a parcel, and does the work on the log that it asks
// for.
func (p *partition) unpack(l *commitlog.Log, c *parcel) {
	defer c.release()
	r := &p.replica
	r.mu.Lock()
	if r.link != c.link || r.handle != c.handle {
		r.mu.Unlock()
		return
	}
	p.step(c.event)
	r.mu.Unlock()
	for {
		r.mu.Lock()
		heavy, f := r.heavy, r.follower
		r.heavy = nil
		if len(heavy) == 0 {
			p.taken(c)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		for _, e := range heavy {
			p.toil(l, f, c, e)
		}
	}
}

// taken gives the leader room for as much as a parcel brought; the caller holds
// replica.mu.
func (p *partition) taken(c *parcel) {
	r := &p.replica
	if r.link == c.link && r.handle == c.handle && len(c.batches) > 0 {
		r.link.took(c.handle, len(c.batches))
	}
}

// toil does one piece of work on the log.
func (p *partition) toil(l *commitlog.Log, f *replication.Follower, c *parcel, e replication.Effect) {
	var checked []checkedBatch
	var bad error
	if _, ok := e.(replication.Append); ok {
		checked, bad = check(c.batches, p.role.Load().leaderEpoch)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.replica.follower != f || f == nil { // changed under mu only
		return
	}
	switch e := e.(type) {
	case replication.Append:
		if bad == nil {
			bad = p.store(l, checked)
		}
		p.wrote(l, f, bad)
	case replication.Truncate:
		if p.warnOfLoss(e.BelowHW, e.To) == nil && p.truncate(l, e.To) == nil {
			p.cutDone(l, f)
		}
	case replication.Restart:
		if p.warnOfLoss(e.BelowHW, e.Start) == nil && p.startOver(l, e.Start) == nil {
			p.cutDone(l, f)
		}
	case replication.RaiseStart:
		if err := l.DeleteBefore(e.Start); err != nil {
			p.fail(err)
		}
	}
}

type checkedBatch struct {
	bytes  []byte
	header record.Header
}

// check verifies what a leader sent before any of it is written (R18): whole
// batches, sound, of no epoch that the leader cannot have.
func check(batches []byte, epoch int32) ([]checkedBatch, error) {
	var checked []checkedBatch
	for len(batches) > 0 {
		one, rest, _, err := record.Next(batches)
		if err != nil {
			return nil, err
		}
		h, err := record.Verify(one)
		if err != nil {
			return nil, err
		}
		if h.LeaderEpoch > epoch {
			return nil, errcode.New(errcode.CorruptRecord, "a batch of leader epoch %d from a leader in %d", h.LeaderEpoch, epoch)
		}
		checked, batches = append(checked, checkedBatch{one, h}), rest
	}
	return checked, nil
}

// store appends as the leader did; the caller holds mu.
func (p *partition) store(l *commitlog.Log, batches []checkedBatch) error {
	if f := p.fault.Load(); f != nil {
		return f
	}
	now := p.node.clock.Now()
	for i := range batches {
		if err := p.take(l, batches[i].bytes, &batches[i].header, now); err != nil {
			return err
		}
		p.node.metrics.replicated.Add(float64(len(batches[i].bytes)))
	}
	return nil
}

// wrote tells the core what is in the log now. After a failure the session is
// given up, to begin again after a pause: where the log then ends.
func (p *partition) wrote(l *commitlog.Log, f *replication.Follower, bad error) {
	role := p.role.Load()
	p.event(replication.Wrote{End: l.EndOffset()})
	if bad != nil {
		p.node.log.Warn("cannot append what the leader sent", telemetry.Topic(role.topic), telemetry.Partition(p.id.Index), telemetry.Err(bad))
		p.event(replication.Refuse{
			Node: p.node.cfg.NodeID, Session: f.Session(), LeaderEpoch: role.leaderEpoch, Reason: errcode.ReasonOf(bad),
		})
		return
	}
	if role.config.Durable {
		p.node.flusher.mark(p)
	}
}

// warnOfLoss tells of committed records that go: only an unclean election
// explains it (invariant 12). They are no longer taken for committed after a
// crash, which others may then stand in place of. The caller holds mu.
func (p *partition) warnOfLoss(below bool, to int64) error {
	if below {
		r := p.role.Load()
		p.node.metrics.lost.Inc()
		p.node.log.Error("the leader lacks records that were committed: they are cut off here too", telemetry.Topic(r.topic),
			telemetry.Partition(p.id.Index), telemetry.LeaderEpoch(r.leaderEpoch), telemetry.Offset(to),
			telemetry.HighWatermark(p.highWatermark.Load()))
	}
	p.highWatermark.Store(min(p.highWatermark.Load(), to))
	if err := p.node.marks.lower(p.id, to); err != nil {
		return p.fail(err)
	}
	return nil
}

// startOver empties the log, durably, and all that was derived from it (R3, R4).
// The caller holds mu.
func (p *partition) startOver(l *commitlog.Log, start int64) error {
	err := p.dropSnapshots(-1)
	if err == nil {
		err = l.Reset(start)
	}
	if err == nil {
		err = p.restoreProducers(l)
	}
	if err != nil {
		return p.fail(err)
	}
	return nil
}

// cutDone goes on from where the log ends now; the caller holds mu.
func (p *partition) cutDone(l *commitlog.Log, f *replication.Follower) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cuts.Add(1)
	cut := replication.Cut{Start: l.StartOffset(), End: l.EndOffset(), DurableEnd: l.DurableEnd()}
	p.step(cut)
	if cut.DurableEnd < cut.End {
		p.node.flusher.mark(p) // a flush that was under way is not told of
	}
	p.highWatermark.Store(f.HighWatermark())
}
