package commitlog

import "sort"

// epochs is the leader-epoch cache (KIP-101): where each epoch's records
// begin, both columns strictly growing.
type epochs []epochStart

type epochStart struct {
	epoch int32
	start int64
}

// assign notes that a batch of epoch begins at offset; true where it is new.
func (e *epochs) assign(epoch int32, offset int64) bool {
	if n := len(*e); n > 0 && (*e)[n-1].epoch >= epoch {
		return false
	}
	if n := len(*e); n > 0 && (*e)[n-1].start == offset {
		(*e)[n-1].epoch = epoch // the epoch before left no record
		return true
	}
	*e = append(*e, epochStart{epoch, offset})
	return true
}

// truncate forgets epochs that begin at or after end (rule R3).
func (e *epochs) truncate(end int64) {
	i := sort.Search(len(*e), func(i int) bool { return (*e)[i].start >= end })
	*e = (*e)[:i]
}

// LatestEpoch is the epoch of the last record, or -1.
func (l *Log) LatestEpoch() int32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n := len(l.epochs); n > 0 {
		return l.epochs[n-1].epoch
	}
	return -1
}

// EndOffsetForEpoch returns the largest known epoch that is not larger than
// epoch, and where its records end; -1 and -1 where there is none (KIP-101,
// KIP-279).
func (l *Log) EndOffsetForEpoch(epoch int32) (int32, int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := sort.Search(len(l.epochs), func(i int) bool { return l.epochs[i].epoch > epoch })
	switch {
	case i == 0:
		return -1, -1
	case i == len(l.epochs):
		return l.epochs[i-1].epoch, l.end.Load()
	}
	return l.epochs[i-1].epoch, l.epochs[i].start
}
