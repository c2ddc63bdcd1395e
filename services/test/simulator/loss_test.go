package simulator

import (
	"slices"
	"testing"
	"time"
)

// Found by seed 442: a machine lost its power and a topic relied on its page
// cache. It was running again and still in sync by name, but could not register,
// since Consul had no leader; it was held to what it had lost (invariant 5). It
// plays no role until its registration is answered, and that takes it out (N3c).
func TestLossIsToldByTheRegistrationBeforeTheNodePlaysARole(t *testing.T) {
	w := newWorld(Options{Seed: 442})
	w.build()
	if w.durable {
		t.Fatal("the seed makes a durable topic: choose another")
	}
	w.run(5 * time.Second)
	n := w.nodes[w.truth.parts[0].Isr[0]]
	if !n.inSync(w.truth, 0) {
		t.Fatalf("isr %v of a topic at rest", w.truth.parts[0].Isr)
	}
	w.consul.leader = false
	w.killed(n, true)
	w.boot(n.proc)
	w.run(w.now + 2*time.Second)
	if _, known := w.holds(n.id, 0); known || n.epoch != 0 || n.replicas[0].leader != nil || n.replicas[0].follower != nil || !n.inSync(w.truth, 0) {
		t.Fatalf("node %d has epoch %d, is in sync: %v, is held to what it has: %v; want it waiting, in sync by name only", n.id, n.epoch, n.inSync(w.truth, 0), known)
	}
	w.consul.leader = true
	for limit := w.now + 20*time.Second; n.epoch == 0; w.run(w.now + time.Millisecond) {
		if w.now > limit {
			t.Fatal("the node never registers")
		}
	}
	if n.inSync(w.truth, 0) || slices.Contains(w.truth.parts[0].Elr, n.id) {
		t.Fatalf("isr %v, elr %v after node %d told of its loss", w.truth.parts[0].Isr, w.truth.parts[0].Elr, n.id)
	}
}

func (n *node) inSync(i *image, part int) bool { return slices.Contains(i.parts[part].Isr, n.id) }
