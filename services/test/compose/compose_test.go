//go:build compose

package compose

import (
	"strings"
	"testing"
	"time"

	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// TestEveryContainerMayDie: docker-compose.yml comes up, the README's first lines
// work against it, and then each container is killed under load and started
// again. Producing, reading and a consumer group go on, no send fails, and all
// that was acknowledged is there afterwards.
func TestEveryContainerMayDie(t *testing.T) {
	c := up(t)
	readme(t)
	f := startFlow(t)
	f.goesOn(t)
	c.lose(t, f, c.activeMetadata(t))
	for _, service := range c.services(t) {
		c.lose(t, f, service)
	}
	for i, door := range grpcDoors {
		t.Logf("%d acknowledged records are all there through gateway-%d", f.isWhole(t, door), i+1)
	}
}

// lose kills a container, and starts it again once all goes on without it.
func (c *cluster) lose(t *testing.T, f *flow, service string) {
	t.Helper()
	active := c.activeMetadata(t)
	f.silence()
	began := time.Now()
	c.kill(t, service)
	f.goesOn(t)
	without, silent := time.Since(began), f.silence()
	c.start(t, service)
	f.goesOn(t)
	role := ""
	if service == active {
		role = ", which decided,"
	}
	t.Logf("without %s%s all went on after %s; acknowledgements within %s", service, role,
		without.Round(10*time.Millisecond), silent.Round(10*time.Millisecond))
}

// readme types the first lines of the README.
func readme(t *testing.T) {
	t.Helper()
	in := strings.NewReader("hello\nworld\n")
	if got := testcluster.Command(t, nil, in, "produce", "greetings"); got.Code != 0 || !strings.HasPrefix(got.Stderr, "2 records, 12 bytes to greetings in ") {
		t.Fatalf("produce: %s%s", got.Stdout, got.Stderr)
	}
	if got := testcluster.Command(t, nil, nil, "consume", "greetings", "--from", "start", "--until-end"); string(got.Stdout) != "hello\nworld\n" {
		t.Fatalf("consume: %s%s", got.Stdout, got.Stderr)
	}
}
