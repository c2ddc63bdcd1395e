package storagenode

import (
	"errors"
	"path"

	"moldau.dev/services/telemetry"
	"moldau.dev/services/topicconfig"
	"moldau.dev/storage-node/commitlog"
)

// The files of a partition's directory beside the log's own.
const (
	nameFile      = "name"       // the topic's name, for people
	producersStem = "producers." // two snapshots, see producer/FORMAT.md
)

// recover opens the log, which cuts a torn tail off, and rebuilds what is kept
// in memory only. In a durable topic all that was recovered is fsynced before
// it counts: after a mere kill it may be in the page cache only (rule N3).
func (p *partition) recover() (*commitlog.Log, error) {
	r, start := p.role.Load(), p.node.clock.Now()
	if err := p.makeDir(r.topic); err != nil {
		return nil, err
	}
	l, found, err := commitlog.Open(p.node.fs, p.dir, logConfig(&r.config), p.node.files)
	if err != nil {
		return nil, err
	}
	if err := p.afterOpen(l, r); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	p.node.log.Debug("log opened", telemetry.Topic(r.topic), telemetry.Partition(p.id.Index),
		"recovery", found, telemetry.Took(p.node.clock.Since(start)))
	return l, nil
}

func (p *partition) afterOpen(l *commitlog.Log, r *role) error {
	if err := p.restoreProducers(l); err != nil {
		return err
	}
	if r.config.Durable {
		if _, err := l.Sync(); err != nil {
			return err
		}
	}
	p.highWatermark.Store(max(min(p.node.marks.of(p.id), l.EndOffset()), l.StartOffset()))
	return nil
}

// makeDir makes the partition's directory, which the log's first Sync makes
// durable. That of its name file, which nothing reads, is not worth an fsync.
func (p *partition) makeDir(topic string) error {
	fs := p.node.fs
	if p.node.hasDir(p.id) {
		return nil
	}
	if err := fs.MkdirAll(p.dir); err != nil {
		return err
	}
	if err := writePlain(fs, path.Join(p.dir, nameFile), []byte(topic+"\n")); err != nil {
		return err
	}
	p.node.noteDir(p.id)
	return nil
}

func logConfig(c *topicconfig.Config) commitlog.Config {
	return commitlog.Config{SegmentBytes: int64(c.SegmentBytes), SegmentAge: c.SegmentAge, IndexIntervalBytes: c.IndexIntervalBytes}
}

// close makes the partition durable and lets go of it. It reports false where
// the disk is not known to hold everything.
func (p *partition) close() bool {
	p.care.Lock()
	defer p.care.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave()
	l := p.log.Load()
	if l == nil {
		return true
	}
	if p.fault.Load() != nil {
		_ = l.Close() // it has failed already
		return false
	}
	err := errors.Join(p.saveProducers(l), l.Close())
	if err != nil {
		p.node.log.Error("close a log", telemetry.Path(p.dir), telemetry.Err(err))
	}
	return err == nil
}
