package native

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/storageclient"
)

const (
	// joinPatience bounds what a stream waits for before its first frame.
	joinPatience = 30 * time.Second
	// livelyFor is how long after a change a member beats each livelyBeat: others
	// wait for it, or it for them.
	livelyFor  = 15 * time.Second
	livelyBeat = time.Second
	// revokeMargin is how much longer than its client a coordinator waits for a
	// member to give partitions up: time to find the coordinator again.
	revokeMargin = 15 * time.Second
	// commitCheck is how often a member that gives up looks whether all is
	// committed; commits through this gateway are seen at once.
	commitCheck = 500 * time.Millisecond
	// trustedBeats without an answer a member stops giving out records: it may
	// have been removed from its group.
	trustedBeats = 6
	firstBeat    = 5 * time.Second // before the coordinator has said how often
	// soughtBy marks the ids of streams that only stand for a Seek.
	soughtBy = "seek-"
)

// consumer is the membership of one Consume stream: a goroutine that talks to the
// group's coordinator while the stream's own may wait for its reader.
//
// The stream sees changes by changed and look; it tells where it stopped by
// stopped, and that it waits for its reader by sends.
type consumer struct {
	s             *Server
	q             *consumeRequest
	id, stream    string
	changed       chan struct{} // has room for one: something is new for the stream
	poked         chan struct{} // has room for one: something is new for the coordinator
	takesOver     bool          // until the first beat
	beatInterval  time.Duration
	lastChange    time.Time
	mu            sync.Mutex
	share         *holding
	heard         time.Time // when the coordinator last answered
	end           *ending
	stops         map[storageclient.PartitionID]int64
	committedHere map[storageclient.PartitionID]int64 // and not taken in by the stream yet
	beatNow       bool
	waitsForSince time.Time // for the reader to take a frame; zero: it does not
}

// ending is why a stream ends, but for its reader and its gateway.
type ending struct {
	kind   endKind
	reason string
	err    error
}

type endKind int

const (
	endLost   endKind = iota // no member any more: join anew
	endSought                // a Seek moved the member
	endLeft                  // it left
	endFailed                // err says why
)

// nothingSent says of a partition that nothing came of it.
const nothingSent = -1

func (s *Server) newConsumer(q *consumeRequest) *consumer {
	return &consumer{
		s: s, q: q, stream: rand.Text(), changed: make(chan struct{}, 1), poked: make(chan struct{}, 1), share: newHolding(),
		stops: map[storageclient.PartitionID]int64{}, committedHere: map[storageclient.PartitionID]int64{}, beatInterval: firstBeat,
	}
}

// join makes a new member, or goes on as that of was. It reports whether it
// goes on, and whether was is what the coordinator knows.
func (m *consumer) join(ctx context.Context, was *membership) (resumed, unchanged bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	if was != nil {
		m.id, m.share.epoch, m.takesOver = was.member, was.epoch, true
		for id := range was.places {
			m.share.held[id] = true
		}
		resp, err := coordinated(ctx, m.s, m.ask)
		switch {
		case err == nil:
			m.takesOver = false
			m.take(resp, was.deadline)
			return true, resp.GetEpochBefore() == was.epoch, nil
		case !isLost(err):
			return false, false, err
		}
		m.share, m.takesOver = newHolding(), false
	}
	m.id = rand.Text()
	resp, err := coordinated(ctx, m.s, m.ask)
	if err != nil {
		return false, false, err
	}
	m.take(resp, time.Time{})
	return false, false, nil
}

func isLost(err error) bool {
	return errcode.Is(err, errcode.UnknownMember) || errcode.Is(err, errcode.UnknownGroup) || errcode.Is(err, errcode.FencedMemberEpoch)
}

// ask beats once. A beat tells all, so that an answer that was lost is given
// again.
func (m *consumer) ask(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
	m.mu.Lock()
	beat := &coordinatorv1.HeartbeatMemberRequest{
		GroupId: m.q.group, MemberId: m.id, MemberEpoch: m.share.epoch, RebalanceTimeoutMs: int32((m.q.revoke + revokeMargin).Milliseconds()),
		Subscription: &coordinatorv1.Subscription{Topics: m.q.topics, HasTopics: true, Regex: &m.q.pattern}, Owned: m.share.owned(),
		ClientId: m.q.client, StreamId: &m.stream, TakeOver: m.takesOver,
	}
	m.mu.Unlock()
	if m.q.assignor != "" {
		beat.ServerAssignor = &m.q.assignor
	}
	if m.q.instance != "" {
		beat.InstanceId = &m.q.instance
	}
	return m.s.coordinators.HeartbeatMember(ctx, beat)
}

// take takes in what a beat was answered. Whoever goes on has the deadline that
// the stream before had.
func (m *consumer) take(resp *coordinatorv1.HeartbeatMemberResponse, deadline time.Time) {
	now := m.s.clk.Now()
	if last := now.Add(m.q.revoke); deadline.IsZero() || deadline.After(last) {
		deadline = last
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = now
	if ms := resp.GetHeartbeatIntervalMs(); ms > 0 {
		m.beatInterval = time.Duration(ms) * time.Millisecond
	}
	if m.share.assign(resp.GetMemberEpoch(), partitionsOf(resp.GetAssignment()), deadline) {
		m.lastChange = now
		m.tell()
	}
	for id := range m.stops {
		if !m.share.revoking[id] {
			delete(m.stops, id)
		}
	}
}

// tell wakes the stream, poke the member.
func (m *consumer) tell() { wake(m.changed) }
func (m *consumer) poke() { wake(m.poked) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run beats until ctx or the membership ends.
func (m *consumer) run(ctx context.Context) {
	pause := firstCoordinatorPause
	for {
		resp, err := m.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = firstCoordinatorPause
			m.take(resp, time.Time{})
			if !m.wait(ctx) {
				return
			}
		case isLost(err):
			m.finish(&ending{kind: endLost, reason: "the group has removed the member: " + errcode.Of(err).Message})
			return
		case errcode.Is(err, errcode.StreamTakenOver):
			if strings.HasPrefix(errcode.Of(err).Metadata["stream_id"], soughtBy) {
				m.finish(&ending{kind: endSought, reason: "the member was moved to other places"})
			} else {
				m.finish(&ending{kind: endFailed, err: err})
			}
			return
		case errcode.Of(err).Reason.Retryable() || errcode.Is(err, errcode.Canceled):
			if !m.s.pause(ctx, pause) {
				return
			}
			pause = min(2*pause, lastCoordinatorPause)
			m.tell() // the stream may trust this no longer
		default:
			m.finish(&ending{kind: endFailed, err: err})
			return
		}
	}
}

// wait returns true when it is time to beat.
func (m *consumer) wait(ctx context.Context) bool {
	now := m.s.clk.Now()
	m.mu.Lock()
	next := now.Add(m.beatInterval)
	if now.Sub(m.lastChange) < livelyFor {
		next = now.Add(min(m.beatInterval, livelyBeat))
	}
	m.mu.Unlock()
	for {
		due, beat, stalled := m.due(next)
		switch {
		case stalled:
			m.leave(ctx, leaving)
			m.finish(&ending{kind: endLost, reason: "the reader took nothing for too long"})
			return false
		case beat:
			return true
		}
		timer := m.s.clk.NewTimer(due.Sub(m.s.clk.Now()))
		select {
		case <-timer.C():
		case <-m.poked:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
		m.releaseCommitted(ctx)
	}
}

// due tells what is next: a beat now, the reader's end, or when to look again.
func (m *consumer) due(next time.Time) (due time.Time, beat, stalled bool) {
	now := m.s.clk.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.share.revoking) > 0 {
		if !now.Before(m.share.deadline) {
			m.release()
		} else if at := now.Add(commitCheck); at.Before(next) {
			due = at
		}
	}
	if m.beatNow || !now.Before(next) {
		m.beatNow = false
		return now, true, false
	}
	if since := m.waitsForSince; !since.IsZero() && !now.Before(since.Add(m.q.stall)) {
		return now, false, true
	}
	if due.IsZero() {
		due = next
	}
	return due, false, false
}

// release gives up what is revoking, at the next beat, which is now. The caller
// has the lock.
func (m *consumer) release() {
	clear(m.share.revoking)
	clear(m.stops)
	m.beatNow, m.lastChange = true, m.s.clk.Now()
	m.tell()
}

// releaseCommitted gives up what is revoking once all that came of it is
// committed.
func (m *consumer) releaseCommitted(ctx context.Context) {
	m.mu.Lock()
	waits := map[storageclient.PartitionID]int64{}
	for id := range m.share.revoking {
		stop, known := m.stops[id]
		if !known {
			m.mu.Unlock()
			return // the stream has not stopped yet
		}
		if stop != nothingSent {
			waits[id] = stop
		}
	}
	none := len(m.share.revoking) == 0
	m.mu.Unlock()
	if none || len(waits) > 0 && !m.committed(ctx, waits) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release()
}

// committed tells whether partitions are committed that far.
func (m *consumer) committed(ctx context.Context, waits map[storageclient.PartitionID]int64) bool {
	ask := &coordinatorv1.FetchGroupOffsets{GroupId: m.q.group, MemberEpoch: noMember}
	for id := range waits {
		ask.Keys = append(ask.Keys, &coordinatorv1.OffsetKey{TopicId: id.Topic[:], Partition: id.Index})
	}
	found, err := m.s.fetchOffsets(ctx, ask, false)
	if err != nil {
		return false
	}
	far := offsetsByID(found)
	for id, stop := range waits {
		if at, known := far[id]; !known || at < stop {
			return false
		}
	}
	return true
}

// finish says why the stream must end; the first word counts.
func (m *consumer) finish(e *ending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.end == nil {
		m.end = e
	}
	m.tell()
}

// leave takes the member out of its group, unless another stream has gone on as
// it. epoch is leaving, or away.
func (m *consumer) leave(ctx context.Context, epoch int32) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	_, err := coordinated(ctx, m.s, func(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
		q := &coordinatorv1.HeartbeatMemberRequest{GroupId: m.q.group, MemberId: m.id, MemberEpoch: epoch, RebalanceTimeoutMs: -1, StreamId: &m.stream}
		if m.q.instance != "" {
			q.InstanceId = &m.q.instance
		}
		return m.s.coordinators.HeartbeatMember(ctx, q)
	})
	if err != nil && !isLost(err) && !errcode.Is(err, errcode.StreamTakenOver) && !errcode.Is(err, errcode.FencedInstance) {
		m.s.log.Debug("a member could not leave its group", "group", m.q.group, telemetry.Err(err))
	}
}

// leaving is the epoch of who leaves, away that of a static member that will be
// back (KIP-848).
const (
	leaving = -1
	away    = -2
)

// now is what the stream sees of its membership.
type now struct {
	epoch          int32
	held, revoking map[storageclient.PartitionID]bool
	deadline       time.Time
	end            *ending
}

func (m *consumer) look() now {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := now{epoch: m.share.epoch, deadline: m.share.deadline, end: m.end, held: map[storageclient.PartitionID]bool{}, revoking: map[storageclient.PartitionID]bool{}}
	for id := range m.share.held {
		n.held[id] = true
	}
	for id := range m.share.revoking {
		n.revoking[id] = true
	}
	return n
}

// may tells whether records of a partition may be sent.
func (m *consumer) may(id storageclient.PartitionID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.share.held[id] && m.end == nil && m.trusts()
}

// trusted tells whether the coordinator was heard of lately.
func (m *consumer) trusted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trusts()
}

func (m *consumer) trusts() bool { return m.s.clk.Since(m.heard) < trustedBeats*m.beatInterval }

// stopped says that the stream sends nothing more of a partition, and up to
// where all must be committed before the partition may go.
func (m *consumer) stopped(id storageclient.PartitionID, stop int64) {
	m.mu.Lock()
	m.stops[id] = stop
	m.mu.Unlock()
	m.poke()
}

// hurry makes the member beat at once.
func (m *consumer) hurry() {
	m.mu.Lock()
	m.beatNow = true
	m.mu.Unlock()
	m.poke()
}

// sends says that the stream waits for its reader until the returned function is
// called.
func (m *consumer) sends() func() {
	set := func(t time.Time) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.waitsForSince = t
	}
	set(m.s.clk.Now())
	return func() { set(time.Time{}) }
}

func (m *consumer) name() *moldauv1.GroupMember {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &moldauv1.GroupMember{MemberId: m.id, Generation: m.share.epoch}
}
