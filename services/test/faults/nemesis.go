//go:build faults

package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"moldau.dev/services/test/consultest"
	"moldau.dev/services/test/testcluster"
)

// nemesis breaks a cluster: each of its lanes one fault after the other, all
// lanes at once. A lane mends what it broke before it goes on.
type nemesis struct {
	t     *testing.T
	r     *rig
	lanes [][]fault

	mu   sync.Mutex
	done map[string]int // by kind
	told []string       // what was broken, from when to when
}

// fault is one kind of fault: it breaks something, waits, and mends it.
type fault struct {
	kind   string
	inject func(l *lane)
}

// lane injects faults in a row. Lanes must not break the same members.
type lane struct {
	*nemesis
	rng *rand.Rand
}

// kill ends a member as kill -9 does and starts it anew after a while.
func kill(members ...testcluster.Member) fault {
	return fault{"kill " + members[0].Role, func(l *lane) {
		m := members[l.rng.IntN(len(members))]
		l.r.Member(l.t, m).Kill()
		l.rest(0, 3*time.Second)
		l.r.StartMember(l.t, m)
	}}
}

// stop asks a member to end, as an orchestrator does. Whom it must tell may be
// broken at that moment, so it need not end well.
func stop(members ...testcluster.Member) fault {
	return fault{"stop " + members[0].Role, func(l *lane) {
		m := members[l.rng.IntN(len(members))]
		l.r.Member(l.t, m).Signal(l.t, syscall.SIGTERM)
		l.r.Member(l.t, m).Exit(l.t)
		l.rest(0, time.Second)
		l.r.StartMember(l.t, m)
	}}
}

// pause freezes a member: connections stay open and nothing answers.
func pause(longest time.Duration, members ...testcluster.Member) fault {
	return fault{"pause " + members[0].Role, func(l *lane) { l.freeze(members[l.rng.IntN(len(members))], longest) }}
}

func (l *lane) freeze(m testcluster.Member, longest time.Duration) {
	p := l.r.Member(l.t, m)
	p.Signal(l.t, syscall.SIGSTOP)
	l.rest(100*time.Millisecond, longest)
	p.Signal(l.t, syscall.SIGCONT)
}

// killAll ends several members at once.
func killAll(members ...testcluster.Member) fault {
	return fault{fmt.Sprintf("kill %d %ss", len(members), members[0].Role), func(l *lane) {
		for _, m := range members {
			l.r.Member(l.t, m).Kill()
		}
		l.rest(0, 2*time.Second)
		l.startAll(members)
	}}
}

// startAll starts members at once: a storage node may wait for others.
func (l *lane) startAll(members []testcluster.Member) {
	var started sync.WaitGroup
	for _, m := range members {
		started.Go(func() { l.r.StartMember(l.t, m) })
	}
	started.Wait()
}

// killActive ends the metadata process that leads, and pauseActive freezes it.
func killActive() fault {
	return fault{"kill active metadata", func(l *lane) {
		m := l.r.active(l.t)
		l.r.Member(l.t, m).Kill()
		l.rest(0, 3*time.Second)
		l.r.StartMember(l.t, m)
	}}
}

func pauseActive(longest time.Duration) fault {
	return fault{"pause active metadata", func(l *lane) { l.freeze(l.r.active(l.t), longest) }}
}

// killConsul ends one of Consul's servers, or all; killConsulLeader the one that
// leads.
func killConsul(servers ...*consultest.Agent) fault {
	return fault{"kill consul", func(l *lane) { l.restartConsul(servers[l.rng.IntN(len(servers))]) }}
}

func killConsulLeader(servers ...*consultest.Agent) fault {
	return fault{"kill consul leader", func(l *lane) { l.restartConsul(consultest.Leader(l.t, servers)) }}
}

func killAllConsul(servers ...*consultest.Agent) fault {
	return fault{"kill all of consul", func(l *lane) { l.restartConsul(servers...) }}
}

func (l *lane) restartConsul(servers ...*consultest.Agent) {
	for _, a := range servers {
		a.Kill()
	}
	l.rest(0, 3*time.Second)
	var started sync.WaitGroup
	for _, a := range servers {
		started.Go(func() { a.Restart(l.t) })
	}
	started.Wait()
}

// pauseConsulLeader freezes the Consul server that leads.
func pauseConsulLeader(longest time.Duration, servers ...*consultest.Agent) fault {
	return fault{"pause consul leader", func(l *lane) {
		a := consultest.Leader(l.t, servers)
		a.Pause(l.t)
		l.rest(100*time.Millisecond, longest)
		a.Resume(l.t)
	}}
}

// run injects faults until the time is over.
func (n *nemesis) run(seed uint64, for_ time.Duration) (injected int) {
	n.done = map[string]int{}
	end := n.r.clk.Now().Add(for_)
	var ended sync.WaitGroup
	for i, faults := range n.lanes {
		l := &lane{nemesis: n, rng: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		ended.Go(func() {
			for n.r.clk.Now().Before(end) && !n.t.Failed() {
				f := faults[l.rng.IntN(len(faults))]
				began := l.r.clk.Now().UTC()
				f.inject(l)
				n.count(f.kind, began)
				l.rest(100*time.Millisecond, 2*time.Second)
			}
		})
	}
	ended.Wait()
	for count := range maps.Values(n.done) {
		injected += count
	}
	return injected
}

func (n *nemesis) count(kind string, began time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.done[kind]++
	n.told = append(n.told, fmt.Sprintf("%s %s %s", began.Format(time.TimeOnly+".000"), n.r.clk.Now().UTC().Format(time.TimeOnly+".000"), kind))
}

func (l *lane) rest(least, most time.Duration) {
	<-l.r.clk.NewTimer(least + time.Duration(l.rng.Int64N(int64(most-least)))).C()
}
