// Package consultest runs real Consul servers for tests: one in memory that is
// there at once, or several on disk that can be killed, paused, started again
// and set back to a snapshot. The server is bin/consul, which make consul
// builds.
//
// Invariant: each server has a loopback address of its own, so its ports are
// Consul's usual ones and clash with nobody's.
package consultest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"moldau.dev/services/test/testcluster"
)

const httpPort = "8500"

// Agent is one Consul server.
type Agent struct {
	name string
	ip   string
	args []string
	p    *testcluster.Process
}

// Start starts one server that keeps all in memory, with further settings in
// Consul's own language, and waits until it serves.
func Start(t testing.TB, settings ...string) *Agent {
	t.Helper()
	a := &Agent{name: "consul", ip: freeIP(t), args: []string{"-dev"}}
	for _, s := range settings {
		a.args = append(a.args, "-hcl="+s)
	}
	a.launch(t)
	a.waitReady(t)
	return a
}

// StartServers starts a cluster of n servers that keep their data on disk, and
// waits until all serve.
func StartServers(t testing.TB, n int) []*Agent {
	t.Helper()
	var agents []*Agent
	var join []string
	for i := range n {
		a := &Agent{name: fmt.Sprintf("consul-%d", i+1), ip: freeIP(t)}
		agents = append(agents, a)
		join = append(join, "-retry-join="+a.ip)
	}
	for _, a := range agents {
		a.args = append([]string{
			"-server", fmt.Sprintf("-bootstrap-expect=%d", n), "-data-dir=" + filepath.Join(t.TempDir(), a.name),
			"-hcl=performance { raft_multiplier = 1 }", "-hcl=leave_on_terminate = false",
		}, join...)
		a.launch(t)
	}
	for _, a := range agents {
		a.waitReady(t)
	}
	return agents
}

// Addr is where the server's HTTP interface listens.
func (a *Agent) Addr() string { return net.JoinHostPort(a.ip, httpPort) }

// Kill ends the server as kill -9 does.
func (a *Agent) Kill() { a.p.Kill() }

// Pause stops the server in its tracks: when it returns, no thread runs.
func (a *Agent) Pause(t testing.TB) {
	t.Helper()
	a.p.Signal(t, syscall.SIGSTOP)
	for !a.stopped(t) {
		runtime.Gosched()
	}
}

func (a *Agent) stopped(t testing.TB) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", a.p.Pid()))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of %s: %v", a.name, err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		_, state, found := strings.Cut(string(stat), ") ") // after the name of the program
		if err == nil && found && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Resume ends a Pause.
func (a *Agent) Resume(t testing.TB) {
	t.Helper()
	a.p.Signal(t, syscall.SIGCONT)
}

// Restart starts a server that was killed, on the data that it left, and waits
// until it serves. A server in memory has forgotten all.
func (a *Agent) Restart(t testing.TB) {
	t.Helper()
	if a.p.Running() {
		t.Fatalf("%s runs still", a.name)
	}
	a.launch(t)
	a.waitReady(t)
}

// Snapshot returns the state of all servers.
func (a *Agent) Snapshot(t testing.TB) []byte {
	t.Helper()
	return a.call(t, http.MethodGet, "/v1/snapshot", nil)
}

// Restore sets all servers back to a snapshot.
func (a *Agent) Restore(t testing.TB, snapshot []byte) {
	t.Helper()
	a.call(t, http.MethodPut, "/v1/snapshot", strings.NewReader(string(snapshot)))
}

// DeleteKey removes a key behind everyone's back.
func (a *Agent) DeleteKey(t testing.TB, key string) {
	t.Helper()
	a.call(t, http.MethodDelete, "/v1/kv/"+key, nil)
}

// Leader returns which of agents leads the others.
func Leader(t testing.TB, agents []*Agent) *Agent {
	t.Helper()
	var addr string
	if err := json.Unmarshal(agents[0].call(t, http.MethodGet, "/v1/status/leader", nil), &addr); err != nil {
		t.Fatalf("who leads: %v", err)
	}
	for _, a := range agents {
		if strings.HasPrefix(addr, a.ip+":") {
			return a
		}
	}
	t.Fatalf("leader %q is none of ours", addr)
	return nil
}

func (a *Agent) call(t testing.TB, method, path string, body io.Reader) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(testcluster.Context(t))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.Addr()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s of %s: status %d: %s %v", method, path, a.name, resp.StatusCode, text, err)
	}
	return text
}

func (a *Agent) launch(t testing.TB) {
	t.Helper()
	args := append([]string{
		"agent", "-node=" + a.name, "-bind=" + a.ip, "-advertise=" + a.ip, "-client=" + a.ip, "-log-level=info",
		"-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-serf-wan-port=-1", "-ui=false", "-disable-host-node-id",
		"-hcl=disable_update_check = true",
	}, a.args...)
	a.p = testcluster.StartProgram(t, a.name, binary(t), nil, args...)
}

// waitReady waits until the server has told the catalog of itself: then there
// is a leader, and it takes writes.
func (a *Agent) waitReady(t testing.TB) {
	t.Helper()
	if a.p.SawLog(t, `Synced node info`) == nil {
		t.Fatalf("%s ended before it was ready:\n%s", a.name, a.p.Log())
	}
}

// binary returns bin/consul of this module.
func binary(t testing.TB) string {
	t.Helper()
	file, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	path := filepath.Join(filepath.Dir(strings.TrimSpace(string(file))), "bin", "consul")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it with: make consul", err)
	}
	return path
}
