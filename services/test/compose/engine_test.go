//go:build compose

package compose

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"moldau.dev/services/test/testcluster"
)

const (
	root    = "../../.."
	project = "moldau-compose-test"
)

// cluster is what docker-compose.yml describes, running.
type cluster struct {
	compose []string // the command

	mu    sync.Mutex
	moved sync.Cond
	state map[string]string // of each service's container: the last event
}

// up builds the image, starts all and waits until every container is healthy.
func up(t *testing.T) *cluster {
	t.Helper()
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Fatalf("no Docker engine answers: %v\n%s", err, out)
	}
	c := &cluster{state: map[string]string{}, compose: []string{"docker", "compose"}}
	c.moved.L = &c.mu
	if exec.Command("docker", "compose", "version").Run() != nil {
		c.compose = []string{"docker-compose"}
	}
	t.Logf("by %s", c.run(t, "version", "--short"))
	haveImages(t)
	c.run(t, "down", "--volumes", "--remove-orphans") // of a run that was cut off
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", c.run(t, "logs", "--no-color", "--tail=100000"))
		}
		c.run(t, "down", "--volumes")
	})
	c.watch(t)
	c.run(t, "up", "--build", "--detach")
	for _, service := range c.services(t) {
		c.await(t, service, healthy)
	}
	return c
}

// run runs a verb of Compose and returns what it says.
func (c *cluster) run(t *testing.T, args ...string) string {
	t.Helper()
	args = append(append(c.compose[1:len(c.compose):len(c.compose)], "--project-name", project), args...)
	cmd := exec.Command(c.compose[0], args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

// services are those that run, in a random order.
func (c *cluster) services(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "--filter", "label=com.docker.compose.project="+project,
		"--format", `{{.Label "com.docker.compose.service"}}`).Output()
	if err != nil {
		t.Fatalf("docker ps: %v", err)
	}
	list := strings.Fields(string(out))
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// What Docker says of a container.
const (
	healthy = "health_status: healthy"
	died    = "die"
)

// watch follows the engine's events until the test ends.
func (c *cluster) watch(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", "events", "--filter", "type=container",
		"--filter", "label=com.docker.compose.project="+project,
		"--format", `{{index .Actor.Attributes "com.docker.compose.service"}} {{.Action}}`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			service, what, _ := strings.Cut(lines.Text(), " ")
			if what == "start" || what == died || strings.HasPrefix(what, "health_status") {
				c.mu.Lock()
				c.state[service] = what
				c.moved.Broadcast()
				c.mu.Unlock()
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { <-done })
}

// await waits until a state is the last that was heard of a service's container.
func (c *cluster) await(t *testing.T, service, state string) {
	t.Helper()
	ctx := testcluster.Context(t)
	defer context.AfterFunc(ctx, func() { c.mu.Lock(); c.moved.Broadcast(); c.mu.Unlock() })()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state[service] != state {
		if ctx.Err() != nil {
			t.Fatalf("%s is not %q but %q", service, state, c.state[service])
		}
		c.moved.Wait()
	}
}

func (c *cluster) kill(t *testing.T, service string) {
	t.Helper()
	c.run(t, "kill", service)
	c.await(t, service, died)
}

func (c *cluster) start(t *testing.T, service string) {
	t.Helper()
	c.run(t, "start", service)
	c.await(t, service, healthy)
}

var process = regexp.MustCompile(`metadata-\d`)

// activeMetadata returns the metadata process that decides, as soon as one
// does, by the lock that it holds in Consul.
func (c *cluster) activeMetadata(t *testing.T) string {
	t.Helper()
	ctx := testcluster.Context(t)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:8500/v1/kv/moldau/ctl/lock?raw", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if active := process.Find(lock); active != nil {
			return string(active)
		}
	}
	t.Fatal("nobody decides")
	return ""
}
