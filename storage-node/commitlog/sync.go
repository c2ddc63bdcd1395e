package commitlog

import (
	"fmt"
	"path"
)

// Sync makes all that was appended before the call durable, and returns the
// offset after it. Appends go on meanwhile. After a failure the log is
// poisoned: an fsync is never tried again (rule N7).
func (l *Log) Sync() (durableEnd int64, err error) {
	l.admin.Lock()
	defer l.admin.Unlock()
	return l.sync()
}

// sync is Sync; the caller holds admin.
func (l *Log) sync() (int64, error) {
	l.mu.Lock()
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if len(l.dirty) == 0 && !l.newNames {
		end := l.durable.Load()
		l.mu.Unlock()
		return end, nil
	}
	if err := l.hold(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	names, m := l.newNames, l.markHere()
	l.newNames = false
	l.mu.Unlock()

	err := l.syncHeld(names)
	l.letGo()
	if err != nil {
		l.poison(err)
		return 0, fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	l.advance(m)
	if names && l.sequence.Load() > 0 || l.sinceMark >= markEvery {
		if err := l.saveCheckpoint(l.checkpoint()); err != nil {
			return 0, err
		}
	} else {
		l.writeHint()
	}
	return m.offset, nil
}

// hold takes what is dirty over into syncing and held; the caller holds mu.
func (l *Log) hold() error {
	l.held = l.held[:0]
	for _, s := range l.dirty {
		if err := l.pin(s); err != nil {
			return err
		}
	}
	l.syncing, l.dirty = l.dirty, l.syncing[:0]
	for _, s := range l.syncing {
		l.files.retain(s.pinned)
		l.held = append(l.held, s.pinned)
		s.dirty = false
	}
	return nil
}

// syncHeld fsyncs data before names (rule R16); before there is a checkpoint,
// also the name of the log's directory.
func (l *Log) syncHeld(names bool) error {
	for _, h := range l.held {
		if err := h.file.Sync(); err != nil {
			return err
		}
	}
	if !names {
		return nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil || l.sequence.Load() > 0 {
		return err
	}
	return l.fs.SyncDir(path.Dir(l.dir))
}

// letGo unpins what was not written to meanwhile.
func (l *Log) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.syncing {
		if !s.dirty {
			l.unpin(s)
		}
		l.files.release(l.held[i])
	}
	clear(l.syncing)
	clear(l.held)
	l.syncing = l.syncing[:0]
}

// markHere is the mark that holds once all is fsynced; the caller holds mu.
func (l *Log) markHere() mark {
	m := mark{offset: l.end.Load(), base: -1}
	if s := l.active(); s != nil && s.size.Load() > 0 {
		m.base, m.pos = s.base, s.size.Load()
	}
	return m
}

// advance notes that the log is durable up to m; the caller holds admin.
func (l *Log) advance(m mark) {
	if m.base == l.mark.base {
		l.sinceMark += m.pos - l.mark.pos
	} else {
		l.sinceMark += m.pos + 1
	}
	l.mark = m
	l.durable.Store(m.offset)
}
