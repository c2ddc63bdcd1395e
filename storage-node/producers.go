package storagenode

import (
	"errors"
	"math/rand/v2"
	"path"

	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/producer"
)

// lastStable is the last stable offset: before it every transaction is decided,
// by a marker below the high watermark (T12). It does not lie before the log's
// start, where records of an open transaction may have been deleted.
func (p *partition) lastStable() int64 {
	hw, l := p.highWatermark.Load(), p.log.Load()
	if u := p.undecided.Load(); u != nil && l != nil {
		return max(min(hw, u.First(hw)), l.StartOffset())
	}
	return hw
}

// bound is the first offset that a read may not reach.
func (p *partition) bound(committed bool) int64 {
	if committed {
		return p.lastStable()
	}
	return p.highWatermark.Load()
}

// know takes s for the partition's producers; the caller holds mu.
func (p *partition) know(s *producer.State) {
	p.producers = s
	p.undecided.Store(s.Undecided())
}

// firstGuard is where guards of a state begin to count: far from those of any
// other (see producer.New).
func firstGuard() int64 { return rand.Int64N(1<<62) + 1 }

// knows tells whether a producer has not expired: compaction keeps its last batch
// then, by which the next start knows it again (T16).
func (p *partition) knows(producerID int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.producers.Has(producerID)
}

// restoreProducers loads the newest snapshot that holds and replays the log
// after it (invariant 27). One that is damaged, or reaches beyond the log, which
// lost its tail then, is removed, durably: the log may grow past it with other
// batches. The caller holds mu.
func (p *partition) restoreProducers(l *commitlog.Log) error {
	p.know(producer.New(p.node.cfg.MaxProducers, firstGuard()))
	p.snapshots = [2]int64{-1, -1}
	from, removed := l.StartOffset(), false
	for slot := range p.snapshots {
		state, end, err := p.loadSnapshot(slot)
		switch {
		case isNotExist(err):
			continue
		case err != nil && !errors.Is(err, producer.ErrSnapshot):
			return err
		case err != nil || end > l.EndOffset():
			p.node.log.Warn("producer snapshot is not usable", telemetry.Path(p.snapshotFile(slot)), "err", err, "end", end)
			if err := p.node.fs.Remove(p.snapshotFile(slot)); err != nil {
				return err
			}
			removed = true
			continue
		}
		p.snapshots[slot] = end
		if end >= max(p.snapshots[0], p.snapshots[1]) {
			p.know(state)
			from = max(end, l.StartOffset())
		}
	}
	if removed {
		if err := p.node.fs.SyncDir(p.dir); err != nil {
			return err
		}
	}
	return p.replay(l, from)
}

func (p *partition) snapshotFile(slot int) string {
	return path.Join(p.dir, producersStem+itoa(int32(slot)))
}

func (p *partition) loadSnapshot(slot int) (*producer.State, int64, error) {
	b, err := readFile(p.node.fs, p.snapshotFile(slot))
	if err != nil {
		return nil, 0, err
	}
	return producer.Restore(b, p.node.cfg.MaxProducers, firstGuard())
}

// replayBytes are read at once.
const replayBytes = 1 << 20

func (p *partition) replay(l *commitlog.Log, from int64) error {
	now, own := p.node.clock.Now().UnixMilli(), readBuffers.get(replayBytes)
	buf := *own
	defer func() { readBuffers.put(own) }()
	for from < l.EndOffset() {
		var err error
		buf, _, _, err = readLog(l, readRange{from: from, bound: l.EndOffset(), limit: replayBytes, wholeFirst: true}, buf[:0])
		if err != nil {
			return err
		}
		if len(buf) == 0 {
			return nil
		}
		for rest := buf; len(rest) > 0; {
			var h record.Header
			var batch []byte
			if batch, rest, h, err = record.Next(rest); err != nil {
				return err
			}
			p.producers.Apply(batch, &h, now)
			from = h.NextOffset()
		}
	}
	return nil
}

// saveProducers writes a snapshot, in the place of the older of the two, unless
// one holds still. The log is made durable first: a snapshot never knows more
// than the log does.
func (p *partition) saveProducers(l *commitlog.Log) error {
	if max(p.snapshots[0], p.snapshots[1], l.StartOffset()) >= l.EndOffset() {
		return nil
	}
	cuts := p.replica.cuts.Load()
	end, err := l.Sync()
	if err != nil {
		return p.fail(err)
	}
	p.flushed(end, cuts)
	older := 0
	if p.snapshots[1] < p.snapshots[0] {
		older = 1
	}
	if err := writeFile(p.node.fs, p.snapshotFile(older), p.producers.AppendSnapshot(nil, end)); err != nil {
		return err
	}
	p.snapshots[older] = end
	return nil
}

// truncate cuts the log to end at offset to, durably, and what was derived from
// it (rule R3). The caller holds mu.
func (p *partition) truncate(l *commitlog.Log, to int64) error {
	err := p.dropSnapshots(to)
	if err == nil {
		err = l.Truncate(to)
	}
	if err == nil {
		err = p.restoreProducers(l)
	}
	if err != nil {
		return p.fail(err)
	}
	return nil
}

// dropSnapshots removes, durably, those that know more than the log before an
// offset: cut there, it will grow past their end with other batches.
func (p *partition) dropSnapshots(before int64) error {
	removed := false
	for slot, end := range p.snapshots {
		if end <= before {
			continue
		}
		if err := p.node.fs.Remove(p.snapshotFile(slot)); err != nil {
			return err
		}
		p.snapshots[slot], removed = -1, true
	}
	if !removed {
		return nil
	}
	return p.node.fs.SyncDir(p.dir)
}
