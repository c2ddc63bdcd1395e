//go:build consul

package discovery

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"

	"moldau.dev/services/clock"
	"moldau.dev/services/test/consultest"
	"moldau.dev/services/test/testcluster"
)

func catalog(t *testing.T, a *consultest.Agent) *Consul {
	t.Helper()
	c, err := NewConsul(ConsulConfig{Address: a.Addr(), Prefix: "moldau/"}, clock.Real(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// process is a stand-in for one of a role: a gRPC server with a health service.
type process struct {
	Instance
	health *health.Server
	leave  func()
}

func run(t *testing.T, c *Consul, role, id string) *process {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Instance{ID: id, Addr: listener.Addr().String(), Rack: "r" + id}, health.NewServer(), nil}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, p.health)
	go func() { _ = server.Serve(listener) }()
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() { left <- c.Announce(ctx, role, p.Instance, nil) }()
	p.leave = func() {
		cancel()
		if err := <-left; err != nil {
			t.Error(err)
		}
		left <- nil
		server.Stop()
	}
	t.Cleanup(p.leave)
	return p
}

// sees waits until the lists of a watch come to exactly these instances.
func sees(t *testing.T, lists <-chan []Instance, want ...*process) {
	t.Helper()
	for {
		select {
		case list := <-lists:
			if len(list) != len(want) {
				continue
			}
			same := true
			for i, p := range want {
				same = same && list[i] == p.Instance
			}
			if same {
				return
			}
		case <-testcluster.Context(t).Done():
			t.Fatalf("%d instances never come", len(want))
		}
	}
}

func watch(t *testing.T, s Source, role string) <-chan []Instance {
	t.Helper()
	lists := make(chan []Instance, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Watch(ctx, role, func(list []Instance) { lists <- list })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return lists
}

// TestCatalogFollowsInstances as they come, fall ill, recover and leave.
func TestCatalogFollowsInstances(t *testing.T) {
	c := catalog(t, consultest.Start(t))
	lists := watch(t, c, "gateway")
	sees(t, lists)
	a := run(t, c, "gateway", "1")
	sees(t, lists, a)
	b := run(t, c, "gateway", "2")
	run(t, c, "storage-node", "1")
	sees(t, lists, a, b)
	a.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	sees(t, lists, b)
	a.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	sees(t, lists, a, b)
	b.leave()
	sees(t, lists, a)
}

// TestResolverFollowsTheCatalog: what grpc-go dials is what is healthy.
func TestResolverFollowsTheCatalog(t *testing.T) {
	c := catalog(t, consultest.Start(t))
	a, b := run(t, c, "gateway", "1"), run(t, c, "gateway", "2")
	got := resolve(t, c, "gateway")
	resolved := func(want ...*process) {
		t.Helper()
		for {
			var state resolver.State
			select {
			case state = <-got.states:
			case <-got.errs: // nobody yet
				continue
			case <-testcluster.Context(t).Done():
				t.Fatal("it never resolves")
			}
			if len(state.Addresses) == len(want) && state.Addresses[0].Addr == want[0].Addr {
				return
			}
		}
	}
	resolved(a, b)
	a.leave()
	resolved(b)
}

// TestCatalogOutlivesItsAgent: while it is gone the last list stays, and an
// agent that has forgotten all is told anew.
func TestCatalogOutlivesItsAgent(t *testing.T) {
	agent := consultest.Start(t)
	c := catalog(t, agent)
	lists := watch(t, c, "gateway")
	a := run(t, c, "gateway", "1")
	sees(t, lists, a)
	agent.Kill()
	agent.Restart(t) // in memory: it knows nobody
	b := run(t, c, "gateway", "2")
	sees(t, lists, a, b)
	a.leave()
	sees(t, lists, b)
	b.leave()
	sees(t, lists)
}
