package group

import (
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// bring takes in what a member has told and brings it towards its target, as
// far as the partitions that it holds (nil is not said) and those that others
// hold allow. It is GROUP_FULL if the journal cannot hold what comes of it; who
// is new is no member then.
func (m *Machine) bring(g *consumerGroup, x *consumerMember, next told, owned *partitions) error {
	isNew := g.members[x.id] == nil
	if err := m.checkRoom(g, x, &next, isNew); err != nil {
		return err
	}
	changed := isNew || !x.sameTopics(&next)
	if isNew || !x.told.equal(&next) {
		m.tell(g, x, next)
	}
	m.refresh(g, changed)
	if g.epoch > g.assigned {
		if err := m.assign(g); err != nil {
			if isNew {
				m.fence(g, x)
			}
			return err
		}
	}
	m.reconcile(g, x, owned)
	return nil
}

// checkRoom keeps what a member tells, and what it takes to delete all members,
// within what one step may write.
func (m *Machine) checkRoom(g *consumerGroup, x *consumerMember, next *told, isNew bool) error {
	if n := next.bytes(); n > m.maxBytes/8 {
		return refuse(errcode.GroupFull, "what a member tells takes %d bytes of the journal, at most %d", n, m.maxBytes/8)
	}
	if n := g.idBytes + g.dropBytes(x); isNew && n > m.maxBytes/4 {
		return refuse(errcode.GroupFull, "group %q has all the members that it may have", g.id)
	}
	return nil
}

// bytes is more than what a record takes of it.
func (t *told) bytes() int {
	n := 256 + len(t.instance) + len(t.rack) + len(t.clientID) + len(t.clientHost) + len(t.regex) + len(t.assignor) + len(t.stream)
	for _, topic := range t.topics {
		n += len(topic) + 4
	}
	return n + protocolBytes(t.classic.GetProtocols())
}

func protocolBytes(list []*coordinatorv1.Protocol) (n int) {
	for _, p := range list {
		n += len(p.GetName()) + len(p.GetMetadata()) + 16
	}
	return n
}

// refresh raises the group epoch where members, subscriptions or the topics
// subscribed to have changed.
func (m *Machine) refresh(g *consumerGroup, changed bool) {
	if !changed && g.seenTopics == m.topics {
		return
	}
	g.seenTopics = m.topics
	if hash := g.hash(m); hash != g.topicsHash {
		g.topicsHash, changed = hash, true
	}
	if changed {
		m.raise(g)
	}
}

// raise raises the group epoch: the targets will be computed anew.
func (m *Machine) raise(g *consumerGroup) {
	g.epoch++
	m.counts.Rebalances++
	m.writeConsumer(g)
}

// reconcile brings a member one step towards its target.
func (m *Machine) reconcile(g *consumerGroup, x *consumerMember, owned *partitions) {
	if x.state == memberStable && x.epoch == g.assigned {
		return
	}
	next := x.next(g, owned)
	if next.previous = x.epoch; next.epoch == x.epoch {
		next.previous = x.previous
	}
	if next.equal(&x.current) {
		return
	}
	m.hold(g, x, next)
	if x.classic != nil {
		return // it has timers for joining and syncing
	}
	if x.state == memberUnrevoked {
		m.setTimer(timer{timerRevoke, g.id, x.id}, ms(x.rebalanceMs))
	} else {
		m.timers.Cancel(timer{timerRevoke, g.id, x.id})
	}
}

func (c *current) equal(o *current) bool {
	return c.epoch == o.epoch && c.previous == o.previous && c.state == o.state &&
		slices.Equal(c.assigned, o.assigned) && slices.Equal(c.revoking, o.revoking)
}

// next is what the member holds after one more step, but for the epoch before.
func (x *consumerMember) next(g *consumerGroup, owned *partitions) current {
	epoch := x.epoch
	if x.state == memberUnrevoked {
		if owns(owned, x.revoking) {
			return x.current
		}
		epoch++ // it has given up what it had to
	}
	keep, revoke := x.assigned.split(x.target)
	if len(revoke) > 0 && owns(owned, revoke) {
		return current{epoch: epoch, state: memberUnrevoked, assigned: keep, revoking: revoke}
	}
	var free []partition
	state := memberStable
	for _, p := range x.target {
		if _, has := keep.find(p); has {
			continue
		}
		if _, taken := g.owners[p]; taken {
			state = memberUnreleased
		} else {
			free = append(free, p)
		}
	}
	return current{epoch: g.assigned, state: state, assigned: keep.plus(free, g.assigned)}
}

// owns tells whether a member still holds some partitions; where it has not
// said, it does.
func owns(owned *partitions, list holdings) bool {
	return owned == nil || slices.ContainsFunc(list, func(h held) bool { return owned.has(h.partition) })
}
