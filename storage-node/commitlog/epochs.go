package commitlog

import (
	"slices"
	"sort"
)

// epochs is the leader-epoch cache (KIP-101): where each epoch begins, both
// columns growing, the epochs strictly.
type epochs []epochStart

type epochStart struct {
	epoch int32
	start int64 // offset of its first record, or of the end when it began
}

// assign notes that epoch begins at offset, and tells whether that is new.
func (e *epochs) assign(epoch int32, offset int64) bool {
	if epoch < 0 || epoch <= e.latest() {
		return false
	}
	*e = append(*e, epochStart{epoch, offset})
	return true
}

func (e epochs) latest() int32 {
	if len(e) == 0 {
		return -1
	}
	return e[len(e)-1].epoch
}

// before returns the epochs that begin before end (rule R3).
func (e epochs) before(end int64) epochs {
	i := sort.Search(len(e), func(i int) bool { return e[i].start >= end })
	return slices.Clone(e[:i])
}

// from returns the epochs of a log that starts at start.
func (e epochs) from(start int64) epochs {
	i := sort.Search(len(e), func(i int) bool { return e[i].start > start })
	if i == 0 {
		return slices.Clone(e)
	}
	kept := slices.Clone(e[i-1:])
	kept[0].start = start
	return kept
}

// endOf answers for EndOffsetForEpoch.
func (e epochs) endOf(epoch int32, end int64) (int32, int64) {
	i := sort.Search(len(e), func(i int) bool { return e[i].epoch > epoch })
	switch {
	case len(e) == 0 || epoch == -1:
		return -1, -1
	case i == len(e):
		if e[i-1].epoch < epoch {
			return -1, -1
		}
		return epoch, end
	case i == 0:
		return epoch, e[0].start
	}
	return e[i-1].epoch, e[i].start
}

// LatestEpoch is the last leader epoch that the log knows of, or -1.
func (l *Log) LatestEpoch() int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs.latest()
}

// EndOffsetForEpoch returns the largest known epoch that is not above epoch,
// and the offset at which the epoch after it begins, or the log's end. An epoch
// before all known ones is returned itself, with the start of the first; one
// after all known ones is unknown: -1 and -1 (KIP-101, KIP-279, rule R2).
func (l *Log) EndOffsetForEpoch(epoch int32) (int32, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs.endOf(epoch, l.end.Load())
}

// StartEpoch notes, durably, that a leader epoch begins at offset, before it
// has any record. An epoch not above the latest is ignored.
func (l *Log) StartEpoch(epoch int32, offset int64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	err := l.usable()
	changed := err == nil && l.epochs.assign(epoch, offset)
	l.mu.Unlock()
	if err != nil || !changed {
		return err
	}
	return l.saveCheckpoint(l.checkpoint())
}
