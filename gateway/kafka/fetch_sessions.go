package kafka

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/services/clock"
	"moldau.dev/storage-node/storageclient"
)

const (
	// initialEpoch asks for a new session, finalEpoch for none.
	initialEpoch int32 = 0
	finalEpoch   int32 = -1
	// maxSessions bounds the sessions (max.incremental.fetch.session.cache.slots),
	// and maxSessionParts what all of them remember.
	maxSessions     = 1000
	maxSessionParts = 200_000
	// sessionLife is how long a session lives unused before another may take
	// its place.
	sessionLife = 2 * time.Minute
)

// session is what a client need not repeat with each Fetch (KIP-227). It is
// this gateway's alone: a client that comes to another starts anew.
type session struct {
	mu    sync.Mutex // held while a Fetch is served
	id    int32
	epoch int32 // of the next Fetch
	byID  bool  // whether topics are named by id
	parts []*fetchPart

	used time.Time // guarded by sessions.mu
	size int       // guarded by sessions.mu
}

// sessions are all sessions.
type sessions struct {
	clk clock.Clock

	mu   sync.Mutex
	byID map[int32]*session
	size int
}

func newSessions(clk clock.Clock) *sessions {
	return &sessions{clk: clk, byID: map[int32]*session{}}
}

// enter finds or makes the session of a Fetch, locked, and brings it up to
// date. Nil is a Fetch without one; a code refuses the Fetch.
func (s *sessions) enter(f *fetched) (*session, int16) {
	switch {
	case f.epoch == finalEpoch:
		s.end(f.session)
		return nil, 0
	case f.epoch == initialEpoch:
		s.end(f.session)
		return s.begin(f), 0
	}
	s.mu.Lock()
	sess := s.byID[f.session]
	if sess != nil {
		sess.used = s.clk.Now()
	}
	s.mu.Unlock()
	if sess == nil {
		return nil, kerr.FetchSessionIDNotFound.Code
	}
	sess.mu.Lock()
	switch {
	case sess.byID != (f.version >= 13):
		sess.mu.Unlock()
		return nil, kerr.FetchSessionTopicIDError.Code
	case sess.epoch != f.epoch:
		sess.mu.Unlock()
		return nil, kerr.InvalidFetchSessionEpoch.Code
	}
	sess.epoch = nextEpoch(sess.epoch)
	sess.update(f)
	s.resize(sess)
	return sess, 0
}

// nextEpoch counts up and wraps to 1: 0 and -1 have their own meaning.
func nextEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// begin makes a session, or none where there is no room for one.
func (s *sessions) begin(f *fetched) *session {
	sess := &session{epoch: 1, byID: f.version >= 13, parts: distinctParts(f.parts)}
	sess.size = len(sess.parts)
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.used = s.clk.Now()
	if !s.makeRoom(sess.size) {
		return nil
	}
	for sess.id == 0 || s.byID[sess.id] != nil {
		sess.id = rand.Int32() //nolint:gosec // a name, no secret
	}
	s.byID[sess.id] = sess
	s.size += sess.size
	sess.mu.Lock()
	return sess
}

// makeRoom gives up the session that was unused for longest, once it is old.
func (s *sessions) makeRoom(size int) bool {
	for len(s.byID) >= maxSessions || s.size+size > maxSessionParts {
		var oldest *session
		for _, sess := range s.byID {
			if oldest == nil || sess.used.Before(oldest.used) {
				oldest = sess
			}
		}
		if oldest == nil || s.clk.Since(oldest.used) < sessionLife {
			return false
		}
		s.drop(oldest)
	}
	return true
}

func (s *sessions) drop(sess *session) {
	delete(s.byID, sess.id)
	s.size -= sess.size
}

func (s *sessions) end(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess := s.byID[id]; sess != nil {
		s.drop(sess)
	}
}

func (s *sessions) resize(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[sess.id] == sess {
		s.size += len(sess.parts) - sess.size
	}
	sess.size = len(sess.parts)
}

// update adds, moves and forgets partitions.
func (sess *session) update(f *fetched) {
	if len(f.parts)+len(f.forgotten) == 0 {
		return
	}
	at := make(map[partKey]int, len(sess.parts))
	for i, p := range sess.parts {
		at[p.partKey] = i
	}
	for i := range f.parts {
		p := &f.parts[i]
		have, there := at[p.partKey]
		if !there {
			at[p.partKey] = len(sess.parts)
			p.told.highWatermark, p.told.logStart = -1, -1
			sess.parts = append(sess.parts, p)
			continue
		}
		known := sess.parts[have]
		known.epoch, known.last, known.offset, known.maxBytes = p.epoch, p.last, p.offset, p.maxBytes
	}
	for _, k := range f.forgotten {
		if i, known := at[k]; known {
			sess.parts[i] = nil
		}
	}
	if len(f.forgotten) == 0 {
		return
	}
	kept := sess.parts[:0]
	for _, p := range sess.parts {
		if p != nil {
			kept = append(kept, p)
		}
	}
	clear(sess.parts[len(kept):])
	sess.parts = kept
}

// changed returns the partitions to tell of: all at first, then those with
// records, an error, a divergence or a bound that moved.
func (sess *session) changed(all bool) []*fetchPart {
	if all {
		return sess.parts
	}
	var out []*fetchPart
	for _, p := range sess.parts {
		if p.result.Size() > 0 || p.code != 0 || p.result.Diverging != nil ||
			p.result.HighWatermark != p.told.highWatermark || p.result.LogStartOffset != p.told.logStart {
			out = append(out, p)
		}
	}
	return out
}

// served notes what the client was told. Partitions that gave records go to
// the end, so that others come first the next time.
func (sess *session) served() {
	var quiet, gave []*fetchPart
	for _, p := range sess.parts {
		p.told.highWatermark, p.told.logStart = p.result.HighWatermark, p.result.LogStartOffset
		if p.code != 0 { // told again until it passes
			p.told.highWatermark = -1
		}
		if p.result.Size() > 0 {
			gave = append(gave, p)
		} else {
			quiet = append(quiet, p)
		}
		p.result = storageclient.FetchResult{}
	}
	if len(gave) > 0 && len(quiet) > 0 {
		sess.parts = append(quiet, gave...)
	}
}
