package replication

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	lives = flag.Int("lives", 300, "random lives of a partition for each kind of topic")
	first = flag.Uint64("seed", 1, "seed of the first one")
)

// life is one random life of a replicated partition: the same seed, the same
// life.
func life(t *testing.T, seed uint64, durable bool) {
	rng := rand.New(rand.NewPCG(seed, 7))
	m := newModel(durable, 1+rng.IntN(2), nil)
	m.fail = func(format string, args ...any) {
		last := m.trace[max(0, len(m.trace)-80):]
		t.Fatalf("seed %d: %s\n"+format, append([]any{seed, strings.Join(last, "\n")}, args...)...)
	}
	l := chance{m, rng, 0}
	for range 200 {
		l.step()
		m.check()
	}
	m.heal()
}

// chance picks what happens next.
type chance struct {
	m     *model
	rng   *rand.Rand
	lossy int // crashes that lost what was not fsynced
}

func (c *chance) id() int32   { return ids[c.rng.IntN(len(ids))] }
func (c *chance) node() *node { return c.m.nodes[c.id()] }

func (c *chance) step() {
	m := c.m
	switch n := c.rng.IntN(100); {
	case n < 20:
		m.produce(c.node())
	case n < 28:
		m.flush(c.node())
	case n < 45:
		for range 1 + c.rng.IntN(6) {
			if d := m.directions(); len(d) > 0 {
				m.deliver(d[c.rng.IntN(len(d))])
			}
		}
	case n < 55:
		m.connect(c.id())
	case n < 58:
		m.cut(c.id(), c.id())
	case n < 66:
		if n := c.node(); n.alive {
			m.see(n)
		}
	case n < 69:
		c.crash(c.node())
	case n < 74:
		n := c.node()
		m.restart(n, n.lost)
	case n < 76:
		m.fence(c.id())
	case n < 81:
		m.unfence(c.id())
	case n < 83:
		c.move(c.id())
	case n < 88:
		c.alter()
	case n < 95:
		m.tick(time.Duration([]int{1, 60, 1100, 3100, 31000}[c.rng.IntN(5)]) * time.Millisecond)
	default:
		m.calm(int32(c.rng.IntN(4)), 1+c.rng.IntN(6), c.rng.IntN(2) == 0)
	}
}

// crash kills a node. In a durable topic its power may go too; in a relaxed one
// with fewer than min.insync.replicas nodes in all (invariant 1).
func (c *chance) crash(n *node) {
	if !n.alive {
		return
	}
	lose := c.rng.IntN(2) == 0 && (c.m.durable || c.lossy < c.m.minISR-1)
	c.m.crash(n, lose)
	if lose {
		c.lossy++
		n.lost = true
	}
}

// move elects another in-sync replica, as an operator would.
func (c *chance) move(to int32) {
	s := &c.m.truth
	if s.leader > 0 && to != s.leader && !s.fenced[to] && slices.Contains(s.isr, to) {
		c.m.change(0, func(s *state) { s.leader = to })
	}
}

// alter carries a proposal out, or loses it or its answer; what is lost may come
// to the controller later.
func (c *chance) alter() {
	m := c.m
	if len(m.alters) == 0 {
		return
	}
	i := c.rng.IntN(len(m.alters))
	a := m.alters[i]
	switch c.rng.IntN(5) {
	case 0:
		m.answer(alterReply{a.from, unknown(a)})
		return // late
	case 1:
		m.answer(alterReply{a.from, unknown(a)})
	case 2:
		m.alter(a)
		m.answer(alterReply{a.from, unknown(a)})
	default:
		m.answer(alterReply{a.from, m.alter(a)})
	}
	m.alters = append(m.alters[:i:i], m.alters[i+1:]...)
}

// TestNothingAckedIsLostInDurableTopics: any node, or all of them, may lose what
// was not fsynced, at any time.
func TestNothingAckedIsLostInDurableTopics(t *testing.T) {
	for i := range *lives {
		life(t, *first+uint64(i), true)
	}
}

// TestNothingAckedIsLostInRelaxedTopics: processes die at any time, and fewer
// than min.insync.replicas of them with their page cache.
func TestNothingAckedIsLostInRelaxedTopics(t *testing.T) {
	for i := range *lives {
		life(t, *first+uint64(i), false)
	}
}
