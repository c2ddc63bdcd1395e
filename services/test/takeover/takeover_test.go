//go:build consul

package takeover

import (
	"syscall"
	"testing"

	"moldau.dev/services/test/testcluster"
)

// TestControllersComeAndGo: the active metadata process is killed, asked to
// stop and paused. Each time a standby takes over, changes are decided and no
// produce fails.
func TestControllersComeAndGo(t *testing.T) {
	r := start(t)
	killed := r.lose(t, "killed", (*testcluster.Process).Kill)
	r.StartMember(t, killed)
	stopped := r.lose(t, "stopped", func(p *testcluster.Process) { p.Stop(t) })
	r.StartMember(t, stopped)
	paused := r.lose(t, "paused", pause(t))
	r.Member(t, paused).Signal(t, syscall.SIGCONT)
	r.Member(t, paused).SawLog(t, "controller term ended")
	r.decide(t)
	if r.active(t) == paused {
		t.Error("the one that was paused leads still")
	}
	r.readsAll(t)
}

// TestConsulHangs (C10): nothing is decided meanwhile, records flow on, and
// afterwards all is as before.
func TestConsulHangs(t *testing.T) {
	r := start(t)
	r.decide(t)
	leads := r.active(t)
	r.consul.Pause(t)
	r.flows(t)
	r.Member(t, leads).SawLog(t, "controller term ended") // it does not trust its lease any more (C6)
	r.flows(t)
	r.readsAll(t)
	r.consul.Resume(t)
	r.decide(t)
	r.flows(t)
}

// TestConsulDies and comes back with what it had.
func TestConsulDies(t *testing.T) {
	r := start(t)
	r.decide(t)
	leads := r.active(t)
	r.consul.Kill()
	r.Member(t, leads).SawLog(t, "controller term ended")
	r.flows(t)
	r.consul.Restart(t)
	r.decide(t)
	r.flows(t)
	r.readsAll(t)
}
