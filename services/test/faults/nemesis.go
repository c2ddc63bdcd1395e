//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/test/testcluster"
)

// nemesis breaks a cluster, one fault after the other, and mends it at the end.
type nemesis struct {
	t      *testing.T
	c      *testcluster.Cluster
	clk    clock.Clock
	rng    *rand.Rand
	faults []fault
	done   map[string]int // by kind
}

// fault is one kind of fault: it breaks something, waits, and mends it.
type fault struct {
	kind   string
	inject func(n *nemesis)
}

// kill ends a member as kill -9 does and starts it anew after a while.
func kill(members ...testcluster.Member) fault {
	return fault{"kill " + members[0].Role, func(n *nemesis) {
		m := members[n.rng.IntN(len(members))]
		n.c.Member(n.t, m).Kill()
		n.rest(0, 3*time.Second)
		n.c.StartMember(n.t, m)
	}}
}

// stop asks a member to end, as an orchestrator does.
func stop(members ...testcluster.Member) fault {
	return fault{"stop " + members[0].Role, func(n *nemesis) {
		m := members[n.rng.IntN(len(members))]
		n.c.Member(n.t, m).Stop(n.t)
		n.rest(0, time.Second)
		n.c.StartMember(n.t, m)
	}}
}

// pause freezes a member: connections stay open and nothing answers.
func pause(longest time.Duration, members ...testcluster.Member) fault {
	return fault{"pause " + members[0].Role, func(n *nemesis) {
		p := n.c.Member(n.t, members[n.rng.IntN(len(members))])
		p.Signal(n.t, syscall.SIGSTOP)
		n.rest(100*time.Millisecond, longest)
		p.Signal(n.t, syscall.SIGCONT)
	}}
}

// killAll ends several members at once.
func killAll(members ...testcluster.Member) fault {
	return fault{fmt.Sprintf("kill all %ss", members[0].Role), func(n *nemesis) {
		for _, m := range members {
			n.c.Member(n.t, m).Kill()
		}
		n.rest(0, 2*time.Second)
		for _, m := range members {
			n.c.StartMember(n.t, m)
		}
	}}
}

// run injects faults until the time is over.
func (n *nemesis) run(for_ time.Duration) (injected int) {
	n.done = map[string]int{}
	end := n.clk.Now().Add(for_)
	for n.clk.Now().Before(end) {
		f := n.faults[n.rng.IntN(len(n.faults))]
		f.inject(n)
		n.done[f.kind]++
		injected++
		n.rest(100*time.Millisecond, 4*time.Second)
	}
	return injected
}

func (n *nemesis) rest(least, most time.Duration) {
	<-n.clk.NewTimer(least + time.Duration(n.rng.Int64N(int64(most-least)))).C()
}
