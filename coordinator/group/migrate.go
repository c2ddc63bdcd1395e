package group

import (
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// mayUpgrade tells whether a classic group may become a consumer group as a
// member of the new protocol joins.
func (m *Machine) mayUpgrade(g *classicGroup) bool {
	return m.cfg.Upgrade && g.protocolType == consumerProtocolType && len(g.members) > 0 && len(g.members) < m.cfg.ConsumerMaxSize &&
		g.upgradeBytes() <= m.maxBytes/2
}

// upgradeBytes is more than what changing a group's protocol writes, in which
// what a member is assigned is told thrice: what it shall have, what it has, and
// by its topics' ids.
func (g *classicGroup) upgradeBytes() int {
	n := g.bytes + 512*len(g.members)
	for _, x := range g.members {
		n += 3*(len(g.id)+len(x.id)) + 4*len(x.assignment)
	}
	return n
}

// downgradeBytes is more than what the record of the classic group takes that a
// consumer group becomes, and deleting the consumer group.
func (g *consumerGroup) downgradeBytes(m *Machine) int {
	n := g.idBytes
	for _, x := range g.members {
		n += x.told.bytes()
		for _, t := range m.byName(newPartitions(slices.Concat(x.assigned.partitions(), x.revoking.partitions()))) {
			n += len(t.topic) + 8 + 4*len(t.indexes)
		}
	}
	return n
}

// upgrade makes a consumer group of a classic one: its members go on with what
// they have, and are made to join again.
func (m *Machine) upgrade(old *classicGroup) (*consumerGroup, error) {
	members := old.inOrder()
	carry, err := m.carry(old, members)
	if err != nil {
		return nil, err
	}
	for _, x := range members {
		m.refuseParked(x, errcode.RebalanceInProgress, "the group changes its protocol")
		x.join = 0
	}
	m.dropClassic(old)
	g := m.newConsumer(old.id)
	g.epoch, g.assigned = old.generation, old.generation
	for i, from := range members {
		x := &consumerMember{id: from.id}
		m.tell(g, x, carry[i].told)
		m.aim(g, x, carry[i].target)
		m.hold(g, x, current{
			epoch: old.generation, previous: old.generation, state: memberStable, assigned: holdings(nil).plus(carry[i].holds, old.generation),
		})
		m.setTimer(timer{timerSession, g.id, x.id}, ms(from.sessionMs))
	}
	g.topicsHash = g.hash(m)
	m.writeConsumer(g)
	return g, nil
}

// carried is what a member of a classic group brings into a consumer group.
type carried struct {
	told
	target partitions
	// holds is what it was assigned, and what it said to have when it joined: it
	// may not have heard yet that it shall give something up.
	holds partitions
}

// carry reads what the members tell each other. A partition that two claim goes
// to one of them: nobody has checked what the leader of a classic group assigns.
func (m *Machine) carry(g *classicGroup, members []*classicMember) ([]carried, error) {
	carry, owned := make([]carried, len(members)), make([]partitions, len(members))
	taken := map[partition]bool{}
	claim := func(list partitions) (got partitions) {
		for _, p := range list {
			if !taken[p] {
				taken[p] = true
				got = append(got, p)
			}
		}
		return got
	}
	for i, x := range members {
		protocol := g.protocolName
		if protocol == "" { // the first generation is still forming
			protocol = x.protocols[0].GetName()
		}
		s, err := readSubscription(x.metadata(protocol))
		if err != nil {
			return nil, refuse(errcode.UnknownGroup, "the classic group's members are not understood: %v", err)
		}
		assignment, err := readAssignment(x.assignment)
		if err != nil {
			return nil, refuse(errcode.UnknownGroup, "the classic group's assignment is not understood: %v", err)
		}
		owned[i] = m.partitionsByName(s.owned)
		carry[i].told = told{
			instance: x.instance, rack: s.rack, clientID: x.clientID, clientHost: x.clientHost, rebalanceMs: x.rebalanceMs, topics: s.topics,
			classic: &coordinatorv1.ClassicSide{SessionTimeoutMs: x.sessionMs, Protocols: x.protocols},
		}
		carry[i].target = claim(m.partitionsByName(assignment))
	}
	for i := range members {
		carry[i].holds = newPartitions(slices.Concat(carry[i].target, claim(owned[i])))
	}
	return carry, nil
}

// mayDowngrade tells whether a consumer group becomes a classic one, as its last
// member of the new protocol is gone and some of the other stay. gone is a
// member that is about to be removed, or nil.
func (m *Machine) mayDowngrade(g *consumerGroup, gone *consumerMember, stay int) bool {
	if !m.cfg.Downgrade || stay > m.cfg.MaxSize || gone != nil && gone.classic != nil {
		return false
	}
	return g.classicMembers() == stay && g.downgradeBytes(m) <= m.maxBytes*3/4
}

// downgrade makes a classic group of a consumer group. gone leaves it; without
// one, came has taken its place, and nobody needs to join again where all hold
// what they shall. What a member is assigned in the classic group is what it
// holds: nobody may be given it before.
func (m *Machine) downgrade(old *consumerGroup, gone, came *consumerMember) {
	members, holds := old.inOrder(), map[string]partitions{}
	unsettled := came == nil
	for _, x := range members {
		holds[x.id] = newPartitions(slices.Concat(x.assigned.partitions(), x.revoking.partitions()))
		unsettled = unsettled || !slices.Equal(holds[x.id], x.target)
	}
	m.dropConsumer(old)
	g := newClassicGroup(old.id, m.nowMs())
	m.groups[g.id] = g
	g.protocolType, g.generation, g.unsettled = consumerProtocolType, old.epoch, unsettled
	for _, x := range members {
		if x != gone {
			g.add(&classicMember{
				id: x.id, instance: x.instance, clientID: x.clientID, clientHost: x.clientHost,
				sessionMs: x.classic.GetSessionTimeoutMs(), rebalanceMs: x.rebalanceMs, protocols: x.classic.GetProtocols(),
			})
		}
	}
	g.enter(stable, m.nowMs())
	g.protocolName = g.choose()
	for _, x := range g.inOrder() {
		x.assignment = m.classicAssignment(holds[x.id], x.metadata(g.protocolName))
		m.touch(g, x)
	}
	g.learnTopics()
	m.writeClassic(g)
	if unsettled {
		m.rebalance(g)
	}
}
