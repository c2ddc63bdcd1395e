package storagenode

import (
	"sync/atomic"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/commitlog"
)

// ownerFence keeps the former owners of a shard out of its journal (T1).
//
// It is kept in memory only. A leader learns the owner's epoch from whoever
// uses it, by an append or a read; and it knows at least the epoch that metadata
// had when it became the leader, since its view is at least of that revision. An
// owner of a later epoch, whose own view is of a later revision then, finds this
// leader and no other; and before it answers anybody it has read its journal
// here. So no lower epoch is let in after a higher one has read, whichever
// leaders there were in between.
type ownerFence struct {
	epoch atomic.Int64
	// end is where the log ended when epoch was first seen, and is stored before
	// it: what former owners appended lies below.
	end atomic.Int64
}

// journals are the topics whose partition i is the journal of shard i.
func isJournal(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state"
}

// owner returns the highest epoch of the journal's shard that is known here; 0
// where the partition is no journal.
func (p *partition) owner(r *role) int64 {
	epoch := p.fence.epoch.Load()
	if !r.journal {
		return epoch
	}
	if shards := p.node.meta.View().Shards; int(p.id.Index) < len(shards) {
		epoch = max(epoch, shards[p.id.Index].Epoch)
	}
	return epoch
}

// admitOwner refuses an epoch that is not the highest known, and raises the
// fence to one that is. The caller holds mu, so that no append of a lower epoch
// is between its check and the log.
func (p *partition) admitOwner(l *commitlog.Log, r *role, epoch int64) error {
	if known := p.owner(r); epoch < known {
		return errcode.New(errcode.CoordinatorFenced, "%s-%d has owner epoch %d, the request says %d", r.topic, p.id.Index, known, epoch).
			With("owner_epoch", known)
	}
	if epoch > p.fence.epoch.Load() {
		p.fence.end.Store(l.EndOffset())
		p.fence.epoch.Store(epoch)
	}
	return nil
}

// owned admits the owner that reads.
func (p *partition) owned(l *commitlog.Log, r *role, epoch int64) error {
	if epoch == p.fence.epoch.Load() && epoch == p.owner(r) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admitOwner(l, r, epoch)
}

// settled tells whether all that former owners appended can be read. Until then
// an owner must not take the high watermark for the end of its journal.
func (p *partition) settled() bool { return p.highWatermark.Load() >= p.fence.end.Load() }

// unsettled is what an owner is told meanwhile.
func (p *partition) unsettled() error {
	return errcode.New(errcode.OffsetNotAvailable, "former owners appended up to offset %d, the high watermark is %d",
		p.fence.end.Load(), p.highWatermark.Load())
}
