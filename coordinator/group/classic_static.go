package group

import (
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// replaceStatic puts a static member's new life in the place of its last one
// (KIP-345). In a stable group nobody else hears of it, unless the protocol
// that all know changes.
func (m *Machine) replaceStatic(t shard.Ticket, g *classicGroup, oldID, newID string, q *coordinatorv1.JoinGroupRequest) {
	x := g.members[oldID]
	m.timers.Cancel(timer{timerSession, g.id, oldID})
	if x.join != 0 {
		g.joining--
	}
	m.refuseParked(x, errcode.FencedInstance, "the static member has started anew")
	x.join = 0
	formerLeader := g.leader
	delete(g.members, oldID)
	g.bytes += len(newID) - len(oldID)
	x.id = newID
	g.members[newID], g.static[x.instance] = x, newID
	if g.leader == oldID {
		g.leader = newID
	}
	if g.unsynced[oldID] {
		delete(g.unsynced, oldID)
		g.unsynced[newID] = true
	}
	m.touch(g, x)
	g.update(x, q)
	x.clientID, x.clientHost = q.GetClientId(), q.GetClientHost()
	switch {
	case g.now == stable && g.choose() == g.protocolName:
		m.writeClassic(g)
		m.out.Answer(t, g.rejoined(x, q, formerLeader))
	case g.now == stable, g.now == completing:
		// In COMPLETING the leader knows the old id alone.
		g.park(x, t)
		m.rebalance(g)
	default:
		g.park(x, t)
		m.completeIfAllJoined(g)
	}
}

// rejoined answers a static member that came back into a stable group. Clients
// that know of KIP-814 lead without assigning; to others the leader is the one
// before, so that they do not assign.
func (g *classicGroup) rejoined(x *classicMember, q *coordinatorv1.JoinGroupRequest, formerLeader string) *coordinatorv1.JoinGroupResponse {
	r := g.joined(x, q.GetSupportsSkippingAssignment())
	if !q.GetSupportsSkippingAssignment() {
		r.LeaderId = formerLeader
	}
	r.SkipAssignment = q.GetSupportsSkippingAssignment() && g.leader == x.id
	return r
}
