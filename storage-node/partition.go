package storagenode

import (
	"errors"
	"sync"
	"sync/atomic"

	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/storageclient"
)

// partition is one replica on this node. It costs neither file nor goroutine
// until it is first used: then open recovers its log, and keeps it.
type partition struct {
	node *Service
	id   storageclient.PartitionID
	dir  string

	// role is what metadata last said. Its leader epoch never goes back.
	role atomic.Pointer[role]
	// highWatermark never passes the log's end. It is moved by the replica's core
	// alone, and goes back only where a follower's log is cut (rules R4, R6).
	highWatermark atomic.Int64
	replica       replica
	// undecided is that of producers; readers go by it without the lock.
	undecided atomic.Pointer[producer.Undecided]
	fence     ownerFence // raised under mu
	// log is set under mu: once, and again where the replica is replaced. Reads go by
	// it without the lock.
	log atomic.Pointer[commitlog.Log]
	// fault, once set, stays until the replica is replaced or the process restarts:
	// why nothing is appended.
	fault   atomic.Pointer[errcode.Error]
	waiting waitList
	largest atomic.Int64 // bytes of the largest batch appended since the start
	dirty   atomic.Bool  // is on the flusher's list

	// care is held by retention and compaction, which run beside appends, and
	// taken before mu by who lets go of the log.
	care sync.Mutex

	// mu is held by the one writer; all below is its.
	mu        sync.Mutex
	producers *producer.State
	snapshots [2]int64      // ends of the producer snapshots on disk, or -1
	gone      bool          // deleted, or the node stopped
	overtaken chan struct{} // closed with the next append; nil: nobody waits
}

// leads returns the role if this node leads in the epoch that the caller
// knows, -1 being any; else what the caller must do about it (KIP-320).
func (p *partition) leads(epoch int32) (*role, error) {
	r := p.role.Load()
	switch {
	case r.leader != p.node.cfg.NodeID:
		return r, errcode.New(errcode.NotLeader, "%s-%d is led by node %d", r.topic, p.id.Index, r.leader).
			With("leader", r.leader).With("leader_epoch", r.leaderEpoch)
	case epoch >= 0 && epoch < r.leaderEpoch:
		return r, errcode.New(errcode.FencedLeaderEpoch, "%s-%d has leader epoch %d, the request says %d", r.topic, p.id.Index, r.leaderEpoch, epoch).
			With("leader_epoch", r.leaderEpoch)
	case epoch > r.leaderEpoch:
		return r, errcode.New(errcode.UnknownLeaderEpoch, "%s-%d has leader epoch %d here, the request says %d", r.topic, p.id.Index, r.leaderEpoch, epoch).
			With("leader_epoch", r.leaderEpoch)
	}
	return r, nil
}

// led returns the log and the role if this node leads in the epoch that the
// caller knows, and its core does: no other tenure begins while the caller holds
// mu.
func (p *partition) led(epoch int32) (*commitlog.Log, *role, error) {
	l, err := p.openLocked()
	if err != nil {
		return nil, nil, err
	}
	if f := p.fault.Load(); f != nil {
		return nil, nil, p.refusal(f)
	}
	r, err := p.leads(epoch)
	if err != nil {
		return nil, nil, err
	}
	if b := p.replica.became.Load(); b.leader != r.leader || b.leaderEpoch != r.leaderEpoch {
		return nil, nil, errcode.New(errcode.NotLeader, "the leader of %s-%d is changing", r.topic, p.id.Index).
			With("leader", r.leader).With("leader_epoch", r.leaderEpoch)
	}
	return l, r, nil
}

// leased refuses what only a leader may say whose lease has not run out (R12):
// another may lead by now. Of a single replica there is no other.
func (p *partition) leased(r *role) error {
	if !r.replicated() || p.node.leaseHeld() {
		return nil
	}
	return errcode.New(errcode.NotLeader, "node %d cannot be sure that it still leads %s-%d: the controller does not answer",
		p.node.cfg.NodeID, r.topic, p.id.Index).With("leader", r.leader).With("leader_epoch", r.leaderEpoch)
}

// newest refuses questions for the newest offset while the leader does not know
// it: former leaders may have committed more (R8, R12, KIP-207).
func (p *partition) newest(r *role) error {
	if !p.replica.known.Load() {
		return errcode.New(errcode.OffsetNotAvailable, "the new leader of %s-%d does not know yet what is committed", r.topic, p.id.Index)
	}
	return p.leased(r)
}

// open returns the log, recovered at the first call, and makes the replica what
// its role says. The error is the fault.
func (p *partition) open() (*commitlog.Log, error) {
	if l := p.log.Load(); l != nil && p.replica.is(p.tenure()) {
		return l, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openLocked()
}

func (p *partition) openLocked() (*commitlog.Log, error) {
	if p.gone {
		return nil, errcode.New(errcode.UnknownTopicID, "%s-%d is no longer on this node", p.role.Load().topic, p.id.Index)
	}
	if l := p.log.Load(); l != nil {
		p.become(l)
		return l, nil
	}
	if f := p.fault.Load(); f != nil {
		return nil, p.refusal(f)
	}
	l, err := p.recover()
	if err != nil {
		if e := storageError(err); e.Reason == errcode.DiskFull { // what is there is as it was: it is opened when there is room
			if p.role.Load().replicated() {
				p.node.mender.failed(p, true)
			}
			return nil, e
		}
		return nil, p.refusal(p.fail(err))
	}
	p.log.Store(l)
	p.become(l)
	return l, nil
}

// fail takes the partition out of service: after a failed write or fsync nobody
// knows what the disk holds (rules N6 to N8). Where others hold what was
// committed they take over, and the replica is replaced. It returns the fault.
func (p *partition) fail(err error) *errcode.Error {
	fault := storageError(err)
	if p.fault.CompareAndSwap(nil, fault) {
		r := p.role.Load()
		p.node.log.Error("partition is out of service", telemetry.Topic(r.topic),
			telemetry.Partition(p.id.Index), telemetry.Path(p.dir), telemetry.Err(fault))
		p.node.mender.failed(p, false)
	}
	p.waiting.wakeAll()
	return p.fault.Load()
}

// handsOver tells whether another replica is about to take over from a leader
// that failed.
func (p *partition) handsOver(r *role) bool {
	return p.fault.Load() != nil && r.leader == p.node.cfg.NodeID && len(r.state.ISR) > 1
}

// refusal is what callers are told of a fault: where another replica takes over,
// to ask there.
func (p *partition) refusal(f *errcode.Error) error {
	if r := p.role.Load(); p.handsOver(r) {
		return errcode.New(errcode.NotLeader, "the replica of %s-%d on node %d has failed, another one takes over: %s",
			r.topic, p.id.Index, p.node.cfg.NodeID, f.Message).With("leader_epoch", r.leaderEpoch)
	}
	return f
}

// flush makes the log durable and lets the high watermark follow. A failed
// fsync is never tried again (rule N7).
func (p *partition) flush() {
	l := p.log.Load()
	if l == nil || p.fault.Load() != nil {
		return
	}
	start, cuts := p.node.clock.Now(), p.replica.cuts.Load()
	end, err := l.Sync()
	p.node.metrics.fsync.Observe(p.node.clock.Since(start).Seconds())
	if err != nil {
		p.failedBy(l, err)
		return
	}
	p.flushed(end, cuts)
}

// storageError gives an error of the log its reason.
func storageError(err error) *errcode.Error {
	if e, ok := errors.AsType[*errcode.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*commitlog.CorruptionError](err); ok {
		return errcode.Wrap(err, errcode.DataCorrupted, "the stored log is damaged")
	}
	if isDiskFull(err) {
		return errcode.Wrap(err, errcode.DiskFull, "the disk is full")
	}
	if isOutOfFiles(err) { // the disk holds what it held: no reason to copy the replica anew
		return errcode.Wrap(err, errcode.DiskFull, "no more files can be opened: raise the process's limit of open files")
	}
	return errcode.Wrap(err, errcode.StorageError, "the storage failed")
}
