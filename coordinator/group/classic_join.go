package group

import (
	"cmp"
	"fmt"
	"time"

	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

const (
	// newMemberPatience is how long a new member's JoinGroup is parked: its client
	// cannot beat yet, and one that has gone is not seen to be.
	newMemberPatience = 5 * time.Minute
	// maxPending bounds the ids of one group that were given out and not used yet.
	maxPending = 10_000
	// maxIDBytes bounds the ids of groups, members and instances.
	maxIDBytes = 4096
)

// join serves a JoinGroup, whose answer may be a whole rebalance away.
func (m *Machine) join(t shard.Ticket, q *coordinatorv1.JoinGroupRequest) {
	if err := m.checkJoin(q); err != nil {
		m.out.Refuse(t, err)
		return
	}
	switch g := m.groups[q.GetGroupId()].(type) {
	case *consumerGroup:
		if len(g.members) > 0 {
			m.joinConsumerGroup(t, g, q)
			return
		}
		if q.GetMemberId() == "" && knowsSomething(q) {
			m.dropConsumer(g) // its offsets stay
		}
		m.joinClassic(t, nil, q)
	case *classicGroup:
		m.joinClassic(t, g, q)
	case nil:
		m.joinClassic(t, nil, q)
	}
}

func (m *Machine) checkJoin(q *coordinatorv1.JoinGroupRequest) error {
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return err
	}
	if n := max(len(q.GetMemberId()), len(q.GetInstanceId()), len(q.GetClientId())); n > maxIDBytes {
		return refuse(errcode.InvalidArgument, "an id of %d bytes; at most %d", n, maxIDBytes)
	}
	if s := ms(q.GetSessionTimeoutMs()); s < m.cfg.MinSession || s > m.cfg.MaxSession {
		return refuse(errcode.InvalidSessionTimeout, "session timeout %s is not within %s to %s", s, m.cfg.MinSession, m.cfg.MaxSession)
	}
	if q.GetRebalanceTimeoutMs() < 0 {
		return refuse(errcode.InvalidArgument, "rebalance timeout %d ms", q.GetRebalanceTimeoutMs())
	}
	return nil
}

func checkGroupID(id string) error {
	if id == "" || len(id) > maxIDBytes {
		return refuse(errcode.InvalidGroupID, "a group id of %d bytes; 1 to %d", len(id), maxIDBytes)
	}
	return nil
}

// joinClassic joins a classic group; nil is one that is not there yet.
func (m *Machine) joinClassic(t shard.Ticket, g *classicGroup, q *coordinatorv1.JoinGroupRequest) {
	if g == nil {
		if q.GetMemberId() != "" {
			m.out.Refuse(t, refuse(errcode.UnknownMember, "there is no group %q", q.GetGroupId()))
			return
		}
		if !knowsSomething(q) {
			m.out.Refuse(t, inconsistent(q))
			return
		}
		g = newClassicGroup(q.GetGroupId(), m.nowMs())
		m.groups[g.id] = g
	}
	switch {
	case !m.hasRoom(g, q):
		m.evict(g, q.GetMemberId())
		m.out.Refuse(t, refuse(errcode.GroupFull, "group %q has all the members that it may have", g.id))
		m.completeIfAllJoined(g)
	case !g.supports(q.GetProtocolType(), q.GetProtocols()):
		m.out.Refuse(t, inconsistent(q))
	case q.GetMemberId() == "":
		m.joinNew(t, g, q)
	default:
		m.joinAgain(t, g, q)
	}
}

func knowsSomething(q *coordinatorv1.JoinGroupRequest) bool {
	return q.GetProtocolType() != "" && len(q.GetProtocols()) > 0
}

func inconsistent(q *coordinatorv1.JoinGroupRequest) error {
	return refuse(errcode.InconsistentGroupProtocol, "group %q has no protocol of type %q that this member knows", q.GetGroupId(), q.GetProtocolType())
}

// hasRoom keeps a group within group.max.size and within what one record takes.
// While members join again it counts those that have, so that a group that has
// become too large loses the last to come.
func (m *Machine) hasRoom(g *classicGroup, q *coordinatorv1.JoinGroupRequest) bool {
	x := g.members[q.GetMemberId()]
	if x == nil && g.bytes > m.maxBytes/2 || len(g.pending) > maxPending {
		return false
	}
	switch g.now {
	case preparing:
		return x != nil && x.join != 0 || g.joining < m.cfg.MaxSize
	case completing, stable:
		return x != nil || len(g.members) < m.cfg.MaxSize
	default:
		return true
	}
}

// evict removes whoever came too late when a group had become too large.
func (m *Machine) evict(g *classicGroup, member string) {
	m.timers.Cancel(timer{timerSession, g.id, member})
	g.remove(member)
}

func (m *Machine) joinNew(t shard.Ticket, g *classicGroup, q *coordinatorv1.JoinGroupRequest) {
	id := cmp.Or(q.GetInstanceId(), q.GetClientId()) + "-" + m.newID()
	old, known := g.static[q.GetInstanceId()]
	switch {
	case q.GetInstanceId() != "" && known:
		m.replaceStatic(t, g, old, id, q)
	case q.GetInstanceId() == "" && q.GetRequireKnownMember():
		g.pending[id] = true
		m.setTimer(timer{timerSession, g.id, id}, ms(q.GetSessionTimeoutMs()))
		m.out.Refuse(t, refuse(errcode.MemberIDRequired, "join again with the member id given").With("member_id", id))
	default:
		m.addClassic(t, g, id, q)
	}
}

// newID makes an id up out of what came with the request: a UUID of version 4.
func (m *Machine) newID() string {
	id := m.nonce
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func (m *Machine) addClassic(t shard.Ticket, g *classicGroup, id string, q *coordinatorv1.JoinGroupRequest) {
	if g.now == preparing && g.before == empty {
		g.grown = true
	}
	if len(g.members) == 0 {
		g.protocolType = q.GetProtocolType()
	}
	x := &classicMember{
		id: id, instance: q.GetInstanceId(), clientID: q.GetClientId(), clientHost: q.GetClientHost(),
		sessionMs: q.GetSessionTimeoutMs(), rebalanceMs: q.GetRebalanceTimeoutMs(), protocols: q.GetProtocols(), isNew: true,
	}
	g.add(x)
	g.park(x, t)
	m.setTimer(timer{timerSession, g.id, id}, newMemberPatience)
	m.rebalanceOrComplete(g)
}

// joinAgain serves a member that has an id: it was just given it, or it is a
// member and wants to join the next generation.
func (m *Machine) joinAgain(t shard.Ticket, g *classicGroup, q *coordinatorv1.JoinGroupRequest) {
	id := q.GetMemberId()
	if g.pending[id] && q.GetInstanceId() == "" {
		m.addClassic(t, g, id, q)
		return
	}
	if err := g.check(id, q.GetInstanceId()); err != nil {
		m.out.Refuse(t, err)
		return
	}
	x := g.members[id]
	switch {
	case g.now == preparing,
		g.now == completing && !x.matches(q.GetProtocols()),
		// The leader may join again for what others' metadata does not show, such as
		// a topic with more partitions (item 62).
		g.now == stable && (g.leader == id || !x.matches(q.GetProtocols())):
		m.repark(x, t)
		g.update(x, q)
		g.park(x, t)
		m.rebalanceOrComplete(g)
	default: // the answer before may have been lost
		m.out.Answer(t, g.joined(x, g.now == completing))
		m.touch(g, x)
	}
}

// repark answers a JoinGroup that the same member has sent before this one.
func (m *Machine) repark(x *classicMember, next shard.Ticket) {
	if x.join != 0 && x.join != next {
		m.out.Refuse(x.join, refuse(errcode.RebalanceInProgress, "the member has joined again"))
	}
}

// joined is the answer to a member that is in the present generation.
func (g *classicGroup) joined(x *classicMember, withMembers bool) *coordinatorv1.JoinGroupResponse {
	r := &coordinatorv1.JoinGroupResponse{
		Generation: g.generation, ProtocolType: g.protocolType, ProtocolName: g.protocolName, LeaderId: g.leader, MemberId: x.id,
	}
	if withMembers && g.leader == x.id {
		for _, y := range g.inOrder() {
			r.Members = append(r.Members, &coordinatorv1.JoinedMember{MemberId: y.id, InstanceId: y.instance, Metadata: y.metadata(g.protocolName)})
		}
	}
	return r
}

// touch counts a member's session from now on.
func (m *Machine) touch(g *classicGroup, x *classicMember) {
	m.setTimer(timer{timerSession, g.id, x.id}, ms(x.sessionMs))
}
