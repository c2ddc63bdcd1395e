package group

import (
	"regexp"
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// maxRegexBytes bounds an expression; RE2 takes time in proportion to it.
const maxRegexBytes = 4096

// compileWhole compiles an expression that must match the whole of a name.
func compileWhole(expr string) (*regexp.Regexp, error) { return regexp.Compile(`^(?:` + expr + `)$`) }

// heartbeatMember serves the one request of the next-generation protocol: it
// joins, keeps alive, reconciles and leaves.
func (m *Machine) heartbeatMember(q *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	if err := m.checkHeartbeat(q); err != nil {
		return nil, err
	}
	if q.GetMemberEpoch() < 0 {
		return m.leaveMember(q)
	}
	owned, err := ownedBy(q.GetOwned())
	if err != nil {
		return nil, err
	}
	if q.GetMemberEpoch() == 0 {
		owned = &partitions{} // who joins holds nothing
	}
	id := q.GetMemberId()
	if id == "" {
		id = m.newID()
	}
	g, err := m.consumerGroupFor(q, id)
	if err != nil {
		return nil, err
	}
	x, err := m.memberFor(g, q, id, owned)
	if err != nil {
		return nil, err
	}
	before, epochBefore := x.current, x.epoch
	next := x.told
	next.update(q)
	if err := m.bring(g, x, next, owned); err != nil {
		return nil, err
	}
	m.setTimer(timer{timerSession, g.id, x.id}, m.cfg.ConsumerSession)

	r := &coordinatorv1.HeartbeatMemberResponse{
		MemberId: x.id, MemberEpoch: x.epoch, HeartbeatIntervalMs: int32(m.cfg.ConsumerHeartbeat.Milliseconds()), EpochBefore: epochBefore,
	}
	// A request that tells all was sent by a member that may not know what it has.
	whole := q.GetMemberEpoch() == 0 || q.GetRebalanceTimeoutMs() != -1 && q.GetSubscription() != nil && q.GetOwned() != nil
	if whole || !samePartitions(before.assigned, x.assigned) {
		r.Assignment = &coordinatorv1.Ownership{Partitions: partitionsToProto(x.assigned.partitions())}
	}
	return r, nil
}

func (m *Machine) checkHeartbeat(q *coordinatorv1.HeartbeatMemberRequest) error {
	if level, set := m.view.Settings.Features["group.version"]; set && level < 1 {
		return refuse(errcode.Unimplemented, "the cluster's group.version is 0")
	}
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return err
	}
	bad := func(format string, args ...any) error { return refuse(errcode.InvalidArgument, format, args...) }
	if q.InstanceId != nil && q.GetInstanceId() == "" || q.RackId != nil && q.GetRackId() == "" {
		return bad("an instance or rack id that is empty")
	}
	if n := max(len(q.GetMemberId()), len(q.GetInstanceId()), len(q.GetRackId())); n > maxIDBytes {
		return bad("an id of %d bytes; at most %d", n, maxIDBytes)
	}
	epoch := q.GetMemberEpoch()
	if n := len(q.GetStreamId()); n > maxIDBytes || q.GetTakeOver() && (n == 0 || epoch <= 0) {
		return bad("a stream's id of %d bytes that takes a member of epoch %d over", n, epoch)
	}
	if q.GetMemberId() == "" && (epoch != 0 || !q.GetLegacy()) {
		return bad("no member id")
	}
	if epoch < away || epoch == away && q.InstanceId == nil {
		return bad("member epoch %d", epoch)
	}
	s := q.GetSubscription()
	if epoch == 0 {
		switch {
		case q.GetRebalanceTimeoutMs() < 0:
			return bad("who joins must say its rebalance timeout")
		case len(q.GetOwned().GetPartitions()) > 0:
			return bad("who joins holds no partitions")
		case !s.GetHasTopics() && s.GetRegex() == "":
			return bad("who joins must subscribe to topics or an expression")
		}
	}
	if a := q.GetServerAssignor(); q.ServerAssignor != nil && !slices.Contains(m.cfg.Assignors, a) {
		return refuse(errcode.UnsupportedAssignor, "assignor %q; there are %v", a, m.cfg.Assignors)
	}
	t := told{}
	if t.update(q); t.bytes() > m.maxBytes/8 {
		return refuse(errcode.GroupFull, "what the member tells takes %d bytes of the journal, at most %d", t.bytes(), m.maxBytes/8)
	}
	return checkRegex(s.GetRegex())
}

func checkRegex(expr string) error {
	if len(expr) > maxRegexBytes {
		return refuse(errcode.InvalidRegularExpression, "an expression of %d bytes; at most %d", len(expr), maxRegexBytes)
	}
	if _, err := compileWhole(expr); err != nil {
		return refuse(errcode.InvalidRegularExpression, "%v", err)
	}
	return nil
}

func ownedBy(o *coordinatorv1.Ownership) (*partitions, error) {
	if o == nil {
		return nil, nil
	}
	list, err := partitionsFromProto(o.GetPartitions())
	if err != nil {
		return nil, refuse(errcode.InvalidArgument, "%v", err)
	}
	return &list, nil
}

// update takes in what a heartbeat tells anew. A member that beats speaks the
// new protocol from now on.
func (t *told) update(q *coordinatorv1.HeartbeatMemberRequest) {
	if q.InstanceId != nil {
		t.instance = q.GetInstanceId()
	}
	if q.RackId != nil {
		t.rack = q.GetRackId()
	}
	if q.GetRebalanceTimeoutMs() != -1 {
		t.rebalanceMs = q.GetRebalanceTimeoutMs()
	}
	if q.ServerAssignor != nil {
		t.assignor = q.GetServerAssignor()
	}
	if s := q.GetSubscription(); s.GetHasTopics() {
		t.topics = slices.Compact(slices.Sorted(slices.Values(s.GetTopics())))
	}
	if s := q.GetSubscription(); s != nil && s.Regex != nil {
		t.regex = s.GetRegex()
	}
	if q.GetMemberEpoch() == 0 || q.GetTakeOver() {
		t.stream = q.GetStreamId()
	}
	t.clientID, t.clientHost, t.classic = q.GetClientId(), q.GetClientHost(), nil
}

func (t *told) equal(o *told) bool {
	return t.instance == o.instance && t.rack == o.rack && t.clientID == o.clientID && t.clientHost == o.clientHost &&
		t.rebalanceMs == o.rebalanceMs && t.assignor == o.assignor && t.stream == o.stream && t.sameTopics(o) && sameClassic(t.classic, o.classic)
}

func (t *told) sameTopics(o *told) bool {
	return t.regex == o.regex && slices.Equal(t.topics, o.topics)
}

// consumerGroupFor finds the group of a member that beats. Who joins makes one,
// or turns a classic group into one.
func (m *Machine) consumerGroupFor(q *coordinatorv1.HeartbeatMemberRequest, id string) (*consumerGroup, error) {
	joins := q.GetMemberEpoch() == 0
	switch g := m.groups[q.GetGroupId()].(type) {
	case *consumerGroup:
		if _, member := g.members[id]; !member && len(g.members) >= m.cfg.ConsumerMaxSize && g.static[q.GetInstanceId()] == "" {
			return nil, refuse(errcode.GroupFull, "group %q has the %d members that it may have", g.id, len(g.members))
		}
		return g, nil
	case *classicGroup:
		switch {
		case !joins:
		case g.isEmpty(): // its offsets stay
			m.dropClassic(g)
			return m.newConsumer(g.id), nil
		case m.mayUpgrade(g):
			return m.upgrade(g)
		}
	default:
		if joins {
			return m.newConsumer(q.GetGroupId()), nil
		}
	}
	return nil, refuse(errcode.UnknownGroup, "there is no consumer group %q", q.GetGroupId())
}

func (m *Machine) newConsumer(id string) *consumerGroup {
	g := newConsumerGroup(id)
	m.groups[id] = g
	return g
}

// memberFor finds the member that beats, or makes it where it joins.
func (m *Machine) memberFor(g *consumerGroup, q *coordinatorv1.HeartbeatMemberRequest, id string, owned *partitions) (*consumerMember, error) {
	if q.GetMemberEpoch() > 0 {
		x, err := g.member(id, q.GetInstanceId())
		if err != nil {
			return nil, err
		}
		if q.GetTakeOver() {
			return x, x.mayTakeOver()
		}
		if err := x.checkStream(q.StreamId); err != nil {
			return nil, err
		}
		if q.StreamId != nil {
			return x, nil // one stream speaks for the member, one request after the other
		}
		return x, x.checkEpoch(q.GetMemberEpoch(), owned)
	}
	if old := g.members[g.static[q.GetInstanceId()]]; q.InstanceId != nil && old != nil && old.id != id {
		// A stream is known to be one program's: its next life ends the last one's, as
		// a classic static member's does. Kafka's protocol has the last one leave first.
		if old.classic == nil && old.epoch != away && (q.StreamId == nil || old.stream == "") {
			return nil, refuse(errcode.UnreleasedInstance, "instance id %q is of a member that has not left", q.GetInstanceId())
		}
		return m.replaceMember(g, old, id), nil
	}
	if x := g.members[id]; x != nil {
		if x.epoch == away { // the same one is back
			m.hold(g, x, current{state: memberStable, assigned: x.assigned})
		}
		return x, nil
	}
	return &consumerMember{id: id, current: newcomer()}, nil
}

// mayTakeOver refuses to hand a member to a stream that no stream had.
func (x *consumerMember) mayTakeOver() error {
	if x.stream == "" {
		return refuse(errcode.UnknownMember, "member %q is of no stream", x.id)
	}
	return nil
}

// checkStream refuses a stream that another has taken the member over from: a
// member has one (nil is none that asks).
func (x *consumerMember) checkStream(stream *string) error {
	if stream == nil || *stream == x.stream {
		return nil
	}
	return refuse(errcode.StreamTakenOver, "another stream goes on as the member").With("stream_id", x.stream)
}

// checkEpoch refuses a member that has not seen what it should have. The epoch
// before passes where the answer that told the present one was lost.
func (x *consumerMember) checkEpoch(epoch int32, owned *partitions) error {
	if epoch == x.epoch || epoch == x.previous && epoch < x.epoch && owned != nil && x.assigned.covers(*owned) {
		return nil
	}
	return refuse(errcode.FencedMemberEpoch, "member epoch %d, not %d: give up all partitions and join again", x.epoch, epoch)
}
