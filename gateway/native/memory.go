package native

import "sync"

// What readers do not take stays in memory: a caller can ask for much and then
// close its window. All answers together have a budget, and each may hold a
// little whatever the others hold, so that callers who take nothing make the
// others' answers smaller, but never stop them. Room is taken before a node is
// asked, and nobody who waits for records that are not there yet holds any.

// leastHeld is what one answer may always hold.
const leastHeld = 64 << 10

// How often about an answer's bytes are in memory while its reader takes none.
const (
	// answerTimes of a call's: as what left the handler, which may be what a
	// batch decompressed to.
	answerTimes = 2
	// streamTimes of a stream's: as batches, as records, as a frame that the
	// transport has and one that waits for it.
	streamTimes = 4
)

// reserve takes room for an answer of about want bytes that is in memory so
// many times; of a budget that has too little left, a half of it, a quarter,
// or at last leastHeld, which is always there. The room is given back by
// release, which may be called again.
func (s *Server) reserve(want, times int) (granted int, release func()) {
	for granted = want; granted > leastHeld; granted /= 2 {
		if size := int64(granted) * int64(times); s.reads.TryAcquire(size) {
			return granted, sync.OnceFunc(func() { s.reads.Release(size) })
		}
	}
	return min(want, leastHeld), func() {}
}
