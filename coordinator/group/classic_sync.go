package group

import (
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// sync serves a SyncGroup, whose answer waits for the leader's.
func (m *Machine) sync(t shard.Ticket, q *coordinatorv1.SyncGroupRequest) {
	err := checkGroupID(q.GetGroupId())
	if err == nil {
		switch g := m.groups[q.GetGroupId()].(type) {
		case *classicGroup:
			if err = g.checkSync(q); err == nil {
				m.syncClassic(t, g, q)
				return
			}
		case *consumerGroup:
			reply(m, t, q, func(q *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
				return m.syncConsumerGroup(g, q)
			})
			return
		default:
			err = unknownGroupMember(q.GetGroupId())
		}
	}
	m.out.Refuse(t, err)
}

// unknownGroupMember is what a classic member is told whose group is gone.
func unknownGroupMember(group string) error {
	return refuse(errcode.UnknownMember, "there is no group %q", group)
}

func (g *classicGroup) checkSync(q *coordinatorv1.SyncGroupRequest) error {
	if err := g.check(q.GetMemberId(), q.GetInstanceId()); err != nil {
		return err
	}
	if q.GetGeneration() != g.generation {
		return illegalGeneration(q.GetGeneration(), g.generation)
	}
	other := func(is, was string) bool { return is != "" && was != "" && is != was }
	if other(q.GetProtocolType(), g.protocolType) || other(q.GetProtocolName(), g.protocolName) {
		return refuse(errcode.InconsistentGroupProtocol, "the generation is under %s %s, not %s %s",
			g.protocolType, g.protocolName, q.GetProtocolType(), q.GetProtocolName())
	}
	if g.now == preparing {
		return refuse(errcode.RebalanceInProgress, "the group rebalances")
	}
	return nil
}

func illegalGeneration(got, want int32) error {
	return refuse(errcode.IllegalGeneration, "generation %d; the group is in %d", got, want)
}

// syncClassic serves a sync in COMPLETING, where it waits for the leader's, or
// in STABLE.
func (m *Machine) syncClassic(t shard.Ticket, g *classicGroup, q *coordinatorv1.SyncGroupRequest) {
	x := g.members[q.GetMemberId()]
	if g.now == completing && x.id == g.leader {
		if err := m.checkAssignments(g, q); err != nil {
			m.out.Refuse(t, err)
			return
		}
	}
	m.synced(g, x)
	if g.now == stable {
		m.out.Answer(t, g.assigned(x))
		m.touch(g, x)
		return
	}
	if x.sync != 0 { // it has asked before
		m.out.Refuse(x.sync, refuse(errcode.RebalanceInProgress, "the member has asked again"))
	}
	x.sync = t
	m.touch(g, x)
	if x.id == g.leader {
		m.stabilize(g, q)
	}
}

// checkAssignments keeps a group within what one record takes.
func (m *Machine) checkAssignments(g *classicGroup, q *coordinatorv1.SyncGroupRequest) error {
	size := g.bytes
	for _, a := range q.GetAssignments() {
		size += len(a.GetAssignment())
	}
	if most := m.maxBytes - m.maxBytes/8; size > most {
		return refuse(errcode.GroupFull, "the group with its assignments takes %d bytes, at most %d", size, most)
	}
	return nil
}

// synced notes that a member has asked for its assignment in this generation.
func (m *Machine) synced(g *classicGroup, x *classicMember) {
	delete(g.unsynced, x.id)
	if len(g.unsynced) == 0 {
		m.timers.Cancel(timer{timerSync, g.id, ""})
	}
}

// stabilize gives each member what the leader has assigned to it.
func (m *Machine) stabilize(g *classicGroup, q *coordinatorv1.SyncGroupRequest) {
	for _, x := range g.members {
		x.assignment = nil
	}
	for _, a := range q.GetAssignments() {
		if x := g.members[a.GetMemberId()]; x != nil {
			x.assignment = a.GetAssignment()
		}
	}
	g.enter(stable, m.nowMs())
	m.writeClassic(g)
	for _, x := range g.inOrder() {
		if x.sync != 0 {
			m.out.Answer(x.sync, g.assigned(x))
			x.sync = 0
			m.touch(g, x)
		}
	}
}

func (g *classicGroup) assigned(x *classicMember) *coordinatorv1.SyncGroupResponse {
	return &coordinatorv1.SyncGroupResponse{ProtocolType: g.protocolType, ProtocolName: g.protocolName, Assignment: x.assignment}
}

// heartbeatGroup serves a Heartbeat of the classic protocol.
func (m *Machine) heartbeatGroup(q *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return nil, err
	}
	switch g := m.groups[q.GetGroupId()].(type) {
	case *classicGroup:
		if err := g.check(q.GetMemberId(), q.GetInstanceId()); err != nil {
			return nil, err
		}
		if q.GetGeneration() != g.generation {
			return nil, illegalGeneration(q.GetGeneration(), g.generation)
		}
		m.touch(g, g.members[q.GetMemberId()])
		if g.now == preparing {
			return nil, refuse(errcode.RebalanceInProgress, "the group rebalances")
		}
		return &coordinatorv1.HeartbeatGroupResponse{}, nil
	case *consumerGroup:
		return m.heartbeatConsumerGroup(g, q)
	default:
		return nil, unknownGroupMember(q.GetGroupId())
	}
}
