package group

import (
	"moldau.dev/coordinator/journal"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// writeClassic makes a classic group durable as it is.
func (m *Machine) writeClassic(g *classicGroup) {
	r := &coordinatorv1.ClassicGroupRecord{
		ProtocolType: g.protocolType, Generation: g.generation, ProtocolName: g.protocolName, LeaderId: g.leader, StateTimeMs: g.sinceMs,
		Unsettled: g.unsettled,
	}
	for _, x := range g.inOrder() {
		r.Members = append(r.Members, &coordinatorv1.ClassicMemberRecord{
			MemberId: x.id, InstanceId: x.instance, ClientId: x.clientID, ClientHost: x.clientHost,
			SessionTimeoutMs: x.sessionMs, RebalanceTimeoutMs: x.rebalanceMs, Protocols: x.protocols, Assignment: x.assignment,
		})
	}
	g.written = true
	m.write(journal.Put(kindClassic, r, g.id))
}

// dropClassic forgets a classic group.
func (m *Machine) dropClassic(g *classicGroup) {
	for id := range g.members {
		m.timers.Cancel(timer{timerSession, g.id, id})
	}
	for id := range g.pending {
		m.timers.Cancel(timer{timerSession, g.id, id})
	}
	m.timers.Cancel(timer{timerJoin, g.id, ""})
	m.timers.Cancel(timer{timerSync, g.id, ""})
	delete(m.groups, g.id)
	if g.written {
		m.write(journal.Drop(kindClassic, g.id))
	}
}

// replayClassic takes in what writeClassic wrote. A group with members was
// stable then.
func (m *Machine) replayClassic(id string, r *coordinatorv1.ClassicGroupRecord) {
	g := newClassicGroup(id, r.GetStateTimeMs())
	g.protocolType, g.protocolName = r.GetProtocolType(), r.GetProtocolName()
	g.generation, g.written, g.unsettled = r.GetGeneration(), true, r.GetUnsettled()
	for _, x := range r.GetMembers() {
		g.add(&classicMember{
			id: x.GetMemberId(), instance: x.GetInstanceId(), clientID: x.GetClientId(), clientHost: x.GetClientHost(),
			sessionMs: x.GetSessionTimeoutMs(), rebalanceMs: x.GetRebalanceTimeoutMs(), protocols: x.GetProtocols(), assignment: x.GetAssignment(),
		})
		g.now = stable
	}
	g.leader = r.GetLeaderId()
	g.learnTopics()
	m.groups[id] = g
}
