package storagenode

import (
	"errors"
	"sync"
	"sync/atomic"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/topicconfig"
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
	// highWatermark never goes back, and never passes the log's end or, in a
	// durable topic, what is fsynced (rules R6, R15).
	highWatermark atomic.Int64
	// undecided is that of producers; readers go by it without the lock.
	undecided atomic.Pointer[producer.Undecided]
	fence     ownerFence // raised under mu
	// log is set once, under mu. Reads go by it without the lock.
	log atomic.Pointer[commitlog.Log]
	// fault, once set, stays until the process restarts: why nothing is appended.
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

// role is a partition's part in the cluster, as of one view.
type role struct {
	topic       string
	leader      int32
	leaderEpoch int32
	replicas    int
	inSync      int
	config      topicconfig.Config
	journal     bool         // of a shard of the coordinators
	codec       record.Codec // that the topic demands, where recompress
	recompress  bool
	counters    topicCounters
}

// noLeader is the leader of a partition that has none.
const noLeader = -1

func newRole(t *metadataclient.Topic, index int32, cfg topicconfig.Config, counters topicCounters) *role {
	p := &t.Partitions[index]
	r := &role{
		topic: t.Name, leader: p.Leader, leaderEpoch: p.LeaderEpoch,
		replicas: len(p.Replicas), inSync: len(p.ISR), config: cfg, counters: counters,
		journal: isJournal(t.Name),
	}
	if cfg.CompressionType != "producer" {
		codec, err := record.ParseCodec(cfg.CompressionType)
		r.codec, r.recompress = codec, err == nil
	}
	return r
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

// open returns the log, recovered at the first call. The error is the fault.
func (p *partition) open() (*commitlog.Log, error) {
	if l := p.log.Load(); l != nil {
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
		return l, nil
	}
	if f := p.fault.Load(); f != nil {
		return nil, f
	}
	l, err := p.recover()
	if err != nil {
		return nil, p.fail(err)
	}
	p.log.Store(l)
	return l, nil
}

// advance moves the high watermark forward to hw, never back, and wakes those
// who wait for it.
func (p *partition) advance(hw int64) {
	for {
		old := p.highWatermark.Load()
		if hw <= old {
			return
		}
		if p.highWatermark.CompareAndSwap(old, hw) {
			break
		}
	}
	p.waiting.wake(hw)
}

// fail takes the partition out of service for good: after a failed write or
// fsync nobody knows what the disk holds (rules N6 to N8). It returns the fault.
func (p *partition) fail(err error) *errcode.Error {
	fault := storageError(err)
	if p.fault.CompareAndSwap(nil, fault) {
		r := p.role.Load()
		p.node.log.Error("partition is out of service", telemetry.Topic(r.topic),
			telemetry.Partition(p.id.Index), telemetry.Path(p.dir), telemetry.Err(fault))
	}
	p.waiting.wakeAll()
	return p.fault.Load()
}

// flush makes the log durable and lets the high watermark follow. A failed
// fsync is never tried again (rule N7).
func (p *partition) flush() {
	l := p.log.Load()
	if l == nil || p.fault.Load() != nil {
		return
	}
	start := p.node.clock.Now()
	end, err := l.Sync()
	p.node.metrics.fsync.Observe(p.node.clock.Since(start).Seconds())
	if err != nil {
		p.fail(err)
		return
	}
	p.advance(end)
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
	return errcode.Wrap(err, errcode.StorageError, "the storage failed")
}
