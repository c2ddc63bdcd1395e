package group

import (
	"moldau.dev/services/errcode"
)

// rebalanceOrComplete begins a rebalance, or looks whether the one under way has
// all its members now.
func (m *Machine) rebalanceOrComplete(g *classicGroup) {
	if g.now != preparing {
		m.rebalance(g)
		return
	}
	m.completeIfAllJoined(g)
}

// completeIfAllJoined ends the wait for members. The first round of an empty
// group waits its whole delay, as others may be starting (KIP-134).
func (m *Machine) completeIfAllJoined(g *classicGroup) {
	if g.now == preparing && g.before != empty && g.allJoined() {
		m.completeJoin(g)
	}
}

// rebalance makes the members join again.
func (m *Machine) rebalance(g *classicGroup) {
	m.counts.Rebalances++
	if g.now == completing {
		for _, x := range g.members {
			x.assignment = nil
		}
		m.refuseSyncs(g, errcode.RebalanceInProgress, "the group rebalances")
	}
	m.forgetUnsynced(g)
	initial := g.now == empty
	g.enter(preparing, m.nowMs())
	if initial {
		g.grown = false
		g.initial = int32(m.cfg.InitialDelay.Milliseconds())
		g.left = max(g.rebalanceMs()-g.initial, 0)
		m.setTimer(timer{timerJoin, g.id, ""}, m.cfg.InitialDelay)
		return
	}
	if g.allJoined() {
		m.completeJoin(g)
		return
	}
	m.setTimer(timer{timerJoin, g.id, ""}, ms(g.rebalanceMs()))
}

// endOfWait comes when a group has waited for its members.
func (m *Machine) endOfWait(g *classicGroup) {
	if g.now != preparing {
		return
	}
	if g.before != empty || !g.grown || g.left == 0 {
		m.completeJoin(g)
		return
	}
	// Somebody came meanwhile: wait on, within the rebalance timeout.
	g.grown = false
	next := min(int32(m.cfg.InitialDelay.Milliseconds()), g.left)
	g.left = max(g.left-g.initial, 0)
	g.initial = next
	m.setTimer(timer{timerJoin, g.id, ""}, ms(next))
}

// completeJoin begins a generation of those who have joined. Static members may
// come later: their session decides.
func (m *Machine) completeJoin(g *classicGroup) {
	m.timers.Cancel(timer{timerJoin, g.id, ""})
	for _, x := range g.inOrder() {
		if x.join == 0 && x.instance == "" {
			m.evict(g, x.id)
		}
	}
	if len(g.members) > 0 && !g.leaderJoined() {
		m.setTimer(timer{timerJoin, g.id, ""}, ms(g.rebalanceMs()))
		return
	}
	g.generation++
	g.unsettled = false
	clear(g.unsynced)
	if len(g.members) == 0 {
		g.protocolName, g.leader = "", ""
		g.enter(empty, m.nowMs())
		g.learnTopics()
		m.writeClassic(g)
		return
	}
	g.protocolName = g.choose()
	g.enter(completing, m.nowMs())
	g.learnTopics()
	for _, x := range g.inOrder() {
		if x.join != 0 {
			m.out.Answer(x.join, g.joined(x, true))
			x.join = 0
		}
		x.isNew = false
		g.unsynced[x.id] = true
		m.touch(g, x)
	}
	g.joining = 0
	m.setTimer(timer{timerSync, g.id, ""}, ms(g.rebalanceMs()))
}

// leaderJoined sees to it that a member leads that has joined.
func (g *classicGroup) leaderJoined() bool {
	if x := g.members[g.leader]; x != nil && x.join != 0 {
		return true
	}
	for _, x := range g.inOrder() {
		if x.join != 0 {
			g.leader = x.id
			return true
		}
	}
	return false
}

// endOfSync comes when a generation has waited for its members to sync: who has
// not is removed.
func (m *Machine) endOfSync(g *classicGroup) {
	if g.now != completing && g.now != stable || len(g.unsynced) == 0 {
		return
	}
	for _, id := range sortedKeys(g.unsynced) {
		m.evict(g, id)
	}
	m.rebalance(g)
}

func (m *Machine) forgetUnsynced(g *classicGroup) {
	clear(g.unsynced)
	m.timers.Cancel(timer{timerSync, g.id, ""})
}

// silence comes when a member's session has ended.
func (m *Machine) silence(g *classicGroup, id string) {
	if g.pending[id] {
		g.remove(id)
		m.completeAfterLoss(g)
		return
	}
	x := g.members[id]
	if x == nil || !x.isNew && (x.join != 0 || x.sync != 0) {
		return // a parked member cannot beat; it is counted anew once it is answered
	}
	m.removeClassic(g, x)
}

// removeClassic removes a member; one that waits is told to join anew.
func (m *Machine) removeClassic(g *classicGroup, x *classicMember) {
	m.refuseParked(x, errcode.UnknownMember, "the member was removed")
	m.evict(g, x.id)
	if g.now == stable || g.now == completing {
		m.rebalance(g)
		return
	}
	m.completeAfterLoss(g)
}

// completeAfterLoss ends a wait for those who are gone, be it the first round.
func (m *Machine) completeAfterLoss(g *classicGroup) {
	if g.now == preparing && g.allJoined() {
		m.completeJoin(g)
	}
}

func (m *Machine) refuseParked(x *classicMember, r errcode.Reason, why string) {
	if x.join != 0 {
		m.out.Refuse(x.join, refuse(r, "%s", why))
	}
	if x.sync != 0 {
		m.out.Refuse(x.sync, refuse(r, "%s", why))
		x.sync = 0
	}
}

func (m *Machine) refuseSyncs(g *classicGroup, r errcode.Reason, why string) {
	for _, x := range g.inOrder() {
		if x.sync != 0 {
			m.out.Refuse(x.sync, refuse(r, "%s", why))
			x.sync = 0
			m.touch(g, x)
		}
	}
}

// resumeClassic counts all sessions from now, and makes a group rebalance that
// may not be as large as it is, or that was about to when the owner before ended.
func (m *Machine) resumeClassic(g *classicGroup) {
	for _, x := range g.inOrder() {
		m.touch(g, x)
	}
	if len(g.members) > m.cfg.MaxSize || g.unsettled {
		m.rebalance(g)
	}
}

func (m *Machine) expireClassic(g *classicGroup, t timer) {
	switch t.what {
	case timerSession:
		m.silence(g, t.member)
	case timerJoin:
		m.endOfWait(g)
	case timerSync:
		m.endOfSync(g)
	}
}
