package group

import (
	"bytes"
	"slices"

	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

func sameClassic(a, b *coordinatorv1.ClassicSide) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.GetSessionTimeoutMs() == b.GetSessionTimeoutMs() &&
		slices.EqualFunc(a.GetProtocols(), b.GetProtocols(), func(x, y *coordinatorv1.Protocol) bool {
			return x.GetName() == y.GetName() && bytes.Equal(x.GetMetadata(), y.GetMetadata())
		})
}

// joinConsumerGroup serves a member of the classic protocol that joins a
// consumer group: it is assigned to by the coordinator, and told so in the words
// of its protocol. Its member epoch is its generation.
func (m *Machine) joinConsumerGroup(t shard.Ticket, g *consumerGroup, q *coordinatorv1.JoinGroupRequest) {
	reply(m, t, q, func(q *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
		id := q.GetMemberId()
		if id == "" {
			id = m.newID()
		}
		s, err := m.checkClassicJoin(g, id, q)
		if err != nil {
			return nil, err
		}
		if q.GetMemberId() == "" && q.GetInstanceId() == "" && q.GetRequireKnownMember() {
			return nil, refuse(errcode.MemberIDRequired, "join again with the member id given").With("member_id", id)
		}
		x, replaced, err := m.classicMemberFor(g, id, q)
		if err != nil {
			return nil, err
		}
		next := x.told
		next.instance, next.rack, next.assignor = q.GetInstanceId(), s.rack, ""
		next.rebalanceMs, next.topics, next.regex = q.GetRebalanceTimeoutMs(), s.topics, ""
		next.clientID, next.clientHost = q.GetClientId(), q.GetClientHost()
		next.classic = &coordinatorv1.ClassicSide{SessionTimeoutMs: q.GetSessionTimeoutMs(), Protocols: q.GetProtocols()}
		owned := m.partitionsByName(s.owned)
		if err := m.bring(g, x, next, &owned); err != nil {
			return nil, err
		}
		m.timers.Cancel(timer{timerLateJoin, g.id, x.id})
		r := &coordinatorv1.JoinGroupResponse{
			MemberId: x.id, Generation: x.epoch, ProtocolType: consumerProtocolType, ProtocolName: next.classic.GetProtocols()[0].GetName(),
		}
		if replaced && m.mayDowngrade(g, nil, len(g.members)) {
			m.downgrade(g, nil, x)
			return r, nil
		}
		m.setTimer(timer{timerSession, g.id, x.id}, ms(q.GetSessionTimeoutMs()))
		m.setTimer(timer{timerLateSync, g.id, x.id}, ms(q.GetRebalanceTimeoutMs()))
		return r, nil
	})
}

func (m *Machine) checkClassicJoin(g *consumerGroup, id string, q *coordinatorv1.JoinGroupRequest) (subscription, error) {
	if _, member := g.members[id]; !member && len(g.members) >= m.cfg.ConsumerMaxSize && g.static[q.GetInstanceId()] == "" {
		return subscription{}, refuse(errcode.GroupFull, "group %q has the %d members that it may have", g.id, len(g.members))
	}
	if q.GetProtocolType() != consumerProtocolType || !g.knowsOneOf(q.GetProtocols()) {
		return subscription{}, inconsistent(q)
	}
	s, err := readSubscription(q.GetProtocols()[0].GetMetadata())
	if err != nil {
		return subscription{}, refuse(errcode.InconsistentGroupProtocol, "%v", err)
	}
	return s, nil
}

// knowsOneOf tells whether all members of the classic protocol know one of
// these, so that the group may become a classic one again.
func (g *consumerGroup) knowsOneOf(protocols []*coordinatorv1.Protocol) bool {
	return slices.ContainsFunc(protocols, func(p *coordinatorv1.Protocol) bool {
		for _, x := range g.members {
			if x.classic != nil && !slices.ContainsFunc(x.classic.GetProtocols(), func(o *coordinatorv1.Protocol) bool { return o.GetName() == p.GetName() }) {
				return false
			}
		}
		return true
	})
}

// classicMemberFor finds or makes the member that joins. replaced tells that a
// static member's new life takes the place of one that spoke the new protocol.
func (m *Machine) classicMemberFor(g *consumerGroup, id string, q *coordinatorv1.JoinGroupRequest) (x *consumerMember, replaced bool, err error) {
	if q.GetInstanceId() == "" {
		if x = g.members[id]; x == nil {
			x = &consumerMember{id: id, current: newcomer()}
		}
		return x, false, nil
	}
	old := g.members[g.static[q.GetInstanceId()]]
	switch {
	case q.GetMemberId() != "":
		x, err = g.member(id, q.GetInstanceId())
		return x, false, err
	case old == nil:
		return &consumerMember{id: id, current: newcomer()}, false, nil
	default:
		return m.replaceMember(g, old, id), old.classic == nil, nil
	}
}

// partitionsByName are partitions of topics as they are called now.
func (m *Machine) partitionsByName(list []topicIndexes) partitions {
	var all []partition
	for _, t := range list {
		if topic := m.view.Topics[t.topic]; topic != nil {
			for _, i := range t.indexes {
				all = append(all, partition{topic.ID, i})
			}
		}
	}
	return newPartitions(all)
}

// byName are partitions under their topics' names; what is deleted has none.
func (m *Machine) byName(p partitions) (list []topicIndexes) {
	for _, x := range p {
		t := m.view.TopicsByID[x.topic]
		if t == nil {
			continue
		}
		if n := len(list); n == 0 || list[n-1].topic != t.Name {
			list = append(list, topicIndexes{topic: t.Name})
		}
		last := &list[len(list)-1]
		last.indexes = append(last.indexes, x.index)
	}
	return list
}

// classicMember finds a member of the classic protocol in a consumer group.
func (g *consumerGroup) classicMember(id, instance string, generation int32) (*consumerMember, error) {
	x, err := g.member(id, instance)
	switch {
	case err != nil:
		return nil, err
	case x.classic == nil:
		return nil, refuse(errcode.UnknownMember, "%q does not speak the classic protocol", id)
	case x.epoch != generation:
		return nil, illegalGeneration(generation, x.epoch)
	}
	return x, nil
}

// syncConsumerGroup gives such a member its assignment.
func (m *Machine) syncConsumerGroup(g *consumerGroup, q *coordinatorv1.SyncGroupRequest) (*coordinatorv1.SyncGroupResponse, error) {
	x, err := g.classicMember(q.GetMemberId(), q.GetInstanceId(), q.GetGeneration())
	if err != nil {
		return nil, err
	}
	first := x.classic.GetProtocols()[0]
	if t, n := q.GetProtocolType(), q.GetProtocolName(); t != "" && t != consumerProtocolType || n != "" && n != first.GetName() {
		return nil, refuse(errcode.InconsistentGroupProtocol, "the member joined under %s, not %s %s", first.GetName(), t, n)
	}
	if g.epoch > x.epoch && x.state != memberUnrevoked {
		m.expectJoin(g, x)
		return nil, refuse(errcode.RebalanceInProgress, "the group rebalances")
	}
	m.timers.Cancel(timer{timerLateSync, g.id, x.id})
	m.setTimer(timer{timerSession, g.id, x.id}, ms(x.classic.GetSessionTimeoutMs()))
	return &coordinatorv1.SyncGroupResponse{
		ProtocolType: consumerProtocolType, ProtocolName: first.GetName(), Assignment: m.classicAssignment(x.assigned.partitions(), first.GetMetadata()),
	}, nil
}

// classicAssignment writes partitions in the version that a member's metadata
// is of.
func (m *Machine) classicAssignment(p partitions, metadata []byte) []byte {
	r := protocolReader{b: metadata}
	return writeAssignment(r.int16(), m.byName(p))
}

// heartbeatConsumerGroup keeps such a member alive, and makes it join again
// where there is something new for it.
func (m *Machine) heartbeatConsumerGroup(g *consumerGroup, q *coordinatorv1.HeartbeatGroupRequest) (*coordinatorv1.HeartbeatGroupResponse, error) {
	x, err := g.classicMember(q.GetMemberId(), q.GetInstanceId(), q.GetGeneration())
	if err != nil {
		return nil, err
	}
	m.setTimer(timer{timerSession, g.id, x.id}, ms(x.classic.GetSessionTimeoutMs()))
	m.refresh(g, false)
	if x.epoch < g.epoch || x.state == memberUnrevoked || x.state == memberUnreleased && !g.waits(x) {
		m.expectJoin(g, x)
		return nil, refuse(errcode.RebalanceInProgress, "the group rebalances")
	}
	return &coordinatorv1.HeartbeatGroupResponse{}, nil
}

// waits tells whether others still hold something that a member shall have.
func (g *consumerGroup) waits(x *consumerMember) bool {
	return slices.ContainsFunc(x.target, func(p partition) bool {
		_, has := x.assigned.find(p)
		_, taken := g.owners[p]
		return !has && taken
	})
}

func (m *Machine) expectJoin(g *consumerGroup, x *consumerMember) {
	if late := (timer{timerLateJoin, g.id, x.id}); !m.timers.Has(late) {
		m.setTimer(late, ms(x.rebalanceMs))
	}
}

// leaveConsumerGroup removes members of the classic protocol.
func (m *Machine) leaveConsumerGroup(g *consumerGroup, q *coordinatorv1.LeaveGroupRequest) *coordinatorv1.LeaveGroupResponse {
	r, left := &coordinatorv1.LeaveGroupResponse{}, false
	for _, l := range q.GetMembers() {
		x, err := g.leaving(l)
		if err == nil {
			m.dropMember(g, x)
			left = true
		}
		r.Errors = append(r.Errors, partError(err))
	}
	if left {
		g.topicsHash = g.hash(m)
		m.raise(g)
	}
	return r
}

func (g *consumerGroup) leaving(l *coordinatorv1.LeavingMember) (*consumerMember, error) {
	id := l.GetMemberId()
	if id == "" && l.GetInstanceId() != "" {
		id = g.static[l.GetInstanceId()]
	}
	x, err := g.member(id, l.GetInstanceId())
	if err == nil && x.classic == nil {
		err = refuse(errcode.UnknownMember, "%q does not speak the classic protocol", id)
	}
	return x, err
}
