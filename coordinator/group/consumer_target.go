package group

import (
	"slices"

	"moldau.dev/services/topicid"
)

// assign computes the targets of all members for the present group epoch. Those
// that change are written.
func (m *Machine) assign(g *consumerGroup) {
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
	targets := assignors[m.preferred(g)](spec)
	for i, x := range members {
		if !slices.Equal(targets[i], x.target) {
			m.aim(g, x, targets[i])
		}
	}
	g.assigned = g.epoch
	m.writeConsumer(g)
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
