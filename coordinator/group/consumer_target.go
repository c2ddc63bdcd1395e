package group

import (
	"slices"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// staged are targets that were computed and are not all written yet. All whom
// they name are members.
type staged struct {
	epoch   int32 // of the group, that they are for
	targets map[string]partitions
	rest    []string // members whose target is not written, in order
}

// assign computes the targets of all members for the present group epoch and
// writes those that change: as many as one step may, and the rest in the steps
// that follow. Until the last is written the group is in its epoch before. A
// crash in between leaves targets of both epochs, of which new ones are made:
// who owns a partition decides who may have it, not who shall.
//
// It is GROUP_FULL if one member shall have more than its records can say.
func (m *Machine) assign(g *consumerGroup) error {
	if g.staged == nil || g.staged.epoch != g.epoch {
		g.staged = nil
		next := m.targets(g)
		for _, target := range next.targets {
			if n := shareBytes(target); n > m.maxBytes/8 {
				return refuse(errcode.GroupFull, "a member's share of %d partitions takes %d bytes of the journal, at most %d", len(target), n, m.maxBytes/8)
			}
		}
		g.staged = next
	}
	s := g.staged
	for len(s.rest) > 0 {
		x, target := g.members[s.rest[0]], s.targets[s.rest[0]]
		if m.bytes+shareBytes(target) > m.maxBytes/2 {
			m.setTimer(timer{timerAssign, g.id, ""}, assignPause)
			return nil
		}
		m.aim(g, x, target)
		s.rest = s.rest[1:]
	}
	g.staged = nil
	m.timers.Cancel(timer{timerAssign, g.id, ""})
	g.assigned = g.epoch
	m.writeConsumer(g)
	return nil
}

// assignPause is until the next step of an assignment that one step cannot
// write.
const assignPause = time.Millisecond

// shareBytes is more than what a record takes of partitions that a member shall
// have or has.
func shareBytes(p partitions) int {
	n := 64 + 10*len(p)
	for i := range p {
		if i == 0 || p[i].topic != p[i-1].topic {
			n += 32
		}
	}
	return n
}

// targets computes what all members shall have.
func (m *Machine) targets(g *consumerGroup) *staged {
	spec := assignorSpec{sizes: map[topicid.ID]int32{}}
	members := g.inOrder()
	for _, x := range members {
		a := assignorMember{id: x.id, instance: x.instance, current: x.target}
		for _, t := range g.topicsOf(m, &x.told) {
			a.topics = append(a.topics, t.ID)
			spec.sizes[t.ID] = int32(len(t.Partitions))
		}
		slices.SortFunc(a.topics, compareTopics)
		spec.members = append(spec.members, a)
	}
	next := &staged{epoch: g.epoch, targets: map[string]partitions{}}
	for i, target := range assignors[m.preferred(g)](spec) {
		if x := members[i]; !slices.Equal(target, x.target) {
			next.targets[x.id] = target
			next.rest = append(next.rest, x.id)
		}
	}
	return next
}

// preferred is the assignor that most members ask for; where none does, the
// first of those that there are.
func (m *Machine) preferred(g *consumerGroup) string {
	votes := map[string]int{}
	for _, x := range g.members {
		votes[x.assignor]++
	}
	best := m.cfg.Assignors[0]
	for _, name := range m.cfg.Assignors {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}
