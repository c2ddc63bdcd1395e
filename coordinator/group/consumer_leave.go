package group

import (
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// leaveMember serves a heartbeat of epoch -1 or -2.
func (m *Machine) leaveMember(q *coordinatorv1.HeartbeatMemberRequest) (*coordinatorv1.HeartbeatMemberResponse, error) {
	g, ok := m.groups[q.GetGroupId()].(*consumerGroup)
	if !ok {
		return nil, refuse(errcode.UnknownGroup, "there is no consumer group %q", q.GetGroupId())
	}
	x, err := g.member(q.GetMemberId(), q.GetInstanceId())
	if err != nil {
		return nil, err
	}
	if err := x.checkStream(q.StreamId); err != nil {
		return nil, err
	}
	if q.GetMemberEpoch() == away {
		// Its place is kept until its session ends; what it had to give up is free.
		m.hold(g, x, current{epoch: away, previous: x.epoch, state: memberStable, assigned: x.assigned})
		m.timers.Cancel(timer{timerRevoke, g.id, x.id})
	} else {
		m.fence(g, x)
	}
	return &coordinatorv1.HeartbeatMemberResponse{MemberId: x.id, MemberEpoch: q.GetMemberEpoch()}, nil
}

// fence removes a member. Where only members of the classic protocol are left,
// the group becomes a classic one.
func (m *Machine) fence(g *consumerGroup, x *consumerMember) {
	if m.mayDowngrade(g, x, len(g.members)-1) && len(g.members) > 1 {
		m.downgrade(g, x, nil)
		return
	}
	m.dropMember(g, x)
	g.topicsHash = g.hash(m)
	m.raise(g)
}

// replaceMember puts a static member's new life in the place of its last one.
// It holds what that held.
func (m *Machine) replaceMember(g *consumerGroup, old *consumerMember, id string) *consumerMember {
	x := &consumerMember{id: id}
	was, target, c := old.told, old.target, old.current
	m.dropMember(g, old)
	m.tell(g, x, was)
	m.aim(g, x, target)
	c.epoch, c.previous = 0, 0
	m.hold(g, x, c)
	return x
}

func (m *Machine) expireConsumer(g *consumerGroup, t timer) {
	if t.what == timerAssign {
		if g.epoch > g.assigned {
			_ = m.assign(g) // its members hear of it when they beat
		}
		return
	}
	x := g.members[t.member]
	if x == nil {
		return
	}
	switch t.what {
	case timerRevoke:
		if x.state != memberUnrevoked {
			return
		}
	case timerLateJoin, timerLateSync:
		if x.classic == nil {
			return
		}
	}
	m.fence(g, x)
}

// resumeConsumer counts all sessions, and the time to give partitions up, from
// now.
func (m *Machine) resumeConsumer(g *consumerGroup) {
	for _, x := range g.inOrder() {
		if x.classic != nil {
			m.setTimer(timer{timerSession, g.id, x.id}, ms(x.classic.GetSessionTimeoutMs()))
			continue
		}
		m.setTimer(timer{timerSession, g.id, x.id}, m.cfg.ConsumerSession)
		if x.state == memberUnrevoked {
			m.setTimer(timer{timerRevoke, g.id, x.id}, ms(x.rebalanceMs))
		}
	}
}
