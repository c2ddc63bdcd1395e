package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/storageclient"
)

// retain looks after every log again and again, until ctx ends.
func (s *Service) retain(ctx context.Context) {
	for s.pause(ctx, s.cfg.RetentionInterval) {
		s.retainOnce(ctx)
	}
}

// retainOnce deletes what is past its time or over its size, compacts, expires
// silent producers and saves their state. A partition that was not used since
// the start is opened for it, if it has data: old data must go all the same.
func (s *Service) retainOnce(ctx context.Context) {
	for _, p := range s.snapshot() {
		if ctx.Err() != nil {
			return
		}
		if p.log.Load() == nil && !s.hasDir(p.id) {
			continue
		}
		if _, err := p.open(); err != nil {
			continue // a fault, which open has logged
		}
		if err := p.retain(); err != nil {
			s.log.Error("retention", telemetry.Topic(p.role.Load().topic), telemetry.Partition(p.id.Index), telemetry.Err(err))
		}
	}
}

func (s *Service) hasDir(id storageclient.PartitionID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.onDisk[id.Topic][id.Index]
}

// retain looks after one log. What it deletes lies below the high watermark
// (invariant 30), and what it compacts below the last stable offset (invariant
// 29).
func (p *partition) retain() error {
	p.care.Lock()
	defer p.care.Unlock()
	l, cfg, now := p.log.Load(), &p.role.Load().config, p.node.clock.Now()
	hw := p.highWatermark.Load()
	if l == nil || p.fault.Load() != nil {
		return nil
	}
	if cfg.CleanupDelete {
		if _, err := l.Retain(now, cfg.Retention, cfg.RetentionBytes, hw); err != nil {
			return p.retentionError(err)
		}
	}
	if cfg.CleanupCompact {
		_, err := commitlog.Compact(l, commitlog.CompactOptions{
			Now: now, DeleteRetention: cfg.DeleteRetention, MinLag: cfg.MinCompactionLag,
			Bound: p.lastStable(), KeepProducer: p.knows,
		})
		if err != nil {
			return p.retentionError(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	p.producers.Expire(now.Add(-p.node.cfg.ProducerExpiration).UnixMilli())
	return p.saveProducers(l)
}

// retentionError takes the partition out of service only for what a full disk
// does not explain.
func (p *partition) retentionError(err error) error {
	e := storageError(err)
	if e.Reason == errcode.DiskFull {
		return e
	}
	return p.fail(e)
}
