package group

import (
	"time"

	"moldau.dev/services/topicid"
)

// expiresFrom implements group (KIP-211): of a group without members offsets
// expire from when it became so, of one with consumers from their commit, and
// of one that only holds offsets from their commit too.
func (g *classicGroup) expiresFrom(commitMs int64) (int64, bool) {
	switch {
	case g.protocolType == "":
		return commitMs, true
	case g.now == empty:
		return g.sinceMs, true
	case g.topicsKnown && g.now == stable:
		return commitMs, true
	default:
		return 0, false
	}
}

// expiresFrom implements group.
func (g *consumerGroup) expiresFrom(commitMs int64) (int64, bool) { return commitMs, true }

// sweepBytes is the share of what one step may write that a look for expired
// offsets takes; it goes on in the next step.
const sweepBytes = 4

// sweep forgets offsets that have expired, and groups that have neither members
// nor offsets. It goes on at the timer's group.
func (m *Machine) sweep(t timer) {
	if t.what == timerSweep {
		m.setTimer(timer{what: timerSweep}, m.cfg.SweepInterval)
	}
	written := 0
	for _, id := range sortedKeys(m.groups) {
		if id < t.group {
			continue
		}
		if written > m.maxBytes/sweepBytes {
			m.setTimer(timer{what: timerSweepMore, group: id}, time.Millisecond)
			return
		}
		written += m.sweepGroup(id)
	}
}

// sweepGroup looks at one group, and returns about how many bytes it wrote.
func (m *Machine) sweepGroup(id string) (written int) {
	g := m.groups[id]
	for _, o := range m.offsets.of(id) {
		if m.expired(g, o) {
			m.forgetOffset(o)
			m.counts.Expired++
			written += o.size()
		}
	}
	if g.isEmpty() && !g.awaitsMembers() && m.offsets.groups[id] == nil && m.offsets.open[id] == 0 {
		m.dropGroup(g)
		written += len(id) + memberOverhead
	}
	return written
}

func (m *Machine) expired(g group, id offsetID) bool {
	x := m.offsets.get(id)
	if m.isDeleted(x.topicID) {
		return true
	}
	from, may := g.expiresFrom(x.commitMs)
	if !may || m.offsets.held[id] > 0 || g.subscribes(m, id.topic) {
		return false
	}
	if x.expireMs >= 0 {
		return m.nowMs() >= x.expireMs
	}
	return m.nowMs()-from >= m.cfg.Retention.Milliseconds()
}

func (m *Machine) dropGroup(g group) {
	switch g := g.(type) {
	case *classicGroup:
		m.dropClassic(g)
	case *consumerGroup:
		m.dropConsumer(g)
	}
}

// noteDeleted begins a look for the offsets of topics that were deleted, so that
// one of the same name begins anew.
func (m *Machine) noteDeleted() {
	if n := len(m.view.Deleted); n != m.deleted {
		m.deleted = n
		m.setTimer(timer{what: timerSweepMore}, 0)
	}
}

func (m *Machine) isDeleted(topic topicid.ID) bool {
	_, deleted := m.view.Deleted[topic]
	return deleted
}
