package storagenode

import (
	"slices"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

// session is one partition on one feed.
type session struct {
	feed   *feed
	p      *partition // nil where there is none
	handle uint32
	number uint64 // that the follower gave it
	epoch  int32  // leader epoch
	window int64  // bytes that may be under way

	// Guarded by the feed's mu.
	accepted bool
	over     bool
	queued   bool  // is on one of the feed's lists
	told     bool  // is on the list of those who know an older high watermark
	caughtUp bool  // had all, once
	next     int64 // offset to send from
	toldHW   int64 // high watermark that it was last told
	// sent and taken are bytes since the session began.
	sent, taken int64
}

// admitFollower asks the core about a follower; the answer is an effect.
func (p *partition) admitFollower(s *session, b replication.Begin) {
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leader == nil {
		why := errcode.NotLeader
		if b.LeaderEpoch > p.role.Load().leaderEpoch {
			why = errcode.UnknownLeaderEpoch
		}
		s.refuse(why)
		return
	}
	r.sessions = append(r.sessions, s)
	p.step(b)
	if !s.isAccepted() { // refused, or overtaken by a later one
		p.endSession(b.Node, b.Session).drop()
	}
}

// session finds a session that is not over, or nil; the caller holds replica.mu.
func (p *partition) session(node int32, number uint64) *session {
	for _, s := range p.replica.sessions {
		if s.feed.hello.NodeID == node && s.number == number {
			return s
		}
	}
	return nil
}

// endSession takes it off the list; the caller holds replica.mu.
func (p *partition) endSession(node int32, number uint64) *session {
	s := p.session(node, number)
	if s != nil {
		p.replica.sessions = slices.DeleteFunc(p.replica.sessions, func(o *session) bool { return o == s })
	}
	return s
}

func (s *session) isAccepted() bool {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.accepted
}

func (s *session) accept(a replication.Accept) {
	if s == nil {
		return
	}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.accepted, s.next, s.toldHW = true, a.From, a.HighWatermark
	s.feed.say(storageclient.SessionAnswer{Handle: s.handle, Accept: &storageclient.SessionAccept{
		From: a.From, HighWatermark: a.HighWatermark, LogStart: a.LogStart,
	}})
	s.feed.turn(s)
}

func (s *session) diverge(at replication.EpochEnd) {
	if s != nil {
		s.end(&storageclient.SessionAnswer{Diverge: &storageclient.EpochEnd{Epoch: at.Epoch, EndOffset: at.EndOffset}})
	}
}

func (s *session) reset(start int64) {
	if s != nil {
		s.end(&storageclient.SessionAnswer{Reset: &start})
	}
}

func (s *session) refuse(why errcode.Reason) {
	if s != nil {
		s.end(&storageclient.SessionAnswer{Refuse: why})
	}
}

// drop ends a session for a reason of the leader's. Its follower is told, and
// asks again: else it would wait for ever where it follows on (a leader that
// begins anew in its epoch, a replica that is moved away and back). One that has
// its own reason to stop, or asked anew already, takes no notice.
func (s *session) drop() { s.refuse(errcode.NotLeader) }

// end makes sure that nothing of the session is sent any more.
func (s *session) end(a *storageclient.SessionAnswer) {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	f.underWay -= s.sent - s.taken
	delete(f.sessions, s.handle)
	if !f.closed {
		a.Handle = s.handle
		f.say(*a)
	}
}

// grown gives the sessions of a log that grew their turn; the caller holds
// replica.mu.
func (r *replica) grown() {
	for _, s := range r.sessions {
		s.feed.mu.Lock()
		s.feed.turn(s)
		s.feed.mu.Unlock()
	}
}

// turn puts a session on the list of those that are sent something, where there
// is something, and room for it. The caller holds mu.
func (f *feed) turn(s *session) {
	if s.queued || s.over || !s.accepted || s.sent-s.taken >= s.window {
		return
	}
	l := s.p.log.Load()
	end := l.EndOffset()
	if s.next >= end {
		s.caughtUp = true
		return
	}
	s.queued = true
	if s.caughtUp && (end-s.next)*perOffset(l) <= farBehind {
		f.ready = append(f.ready, s)
	} else {
		s.caughtUp = false
		f.behind = append(f.behind, s)
	}
	f.wakeAll()
}

// farBehind is how many bytes a follower that had all may lack before it counts
// as catching up.
const farBehind = 32 << 20

// progressed notes that a session may be told of a new high watermark.
func (f *feed) progressed(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.told || s.over || !s.accepted {
		return
	}
	s.told = true
	f.stale = append(f.stale, s)
	if len(f.stale) == 1 {
		f.node.clock.AfterFunc(progressInterval, f.tellProgress)
	}
}
