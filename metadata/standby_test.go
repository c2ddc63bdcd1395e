package metadata

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/metadata/store"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// member is one of several metadata processes on one truth.
type member struct {
	*Service
	address string
	server  *grpc.Server
}

// among starts a member that others reach over gRPC.
func among(t *testing.T, truth store.Store) member {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := inMemory()
	cfg.Advertise = listener.Addr().String()
	s, err := NewService(cfg, Deps{Store: truth})
	if err != nil {
		t.Fatal(err)
	}
	m := member{s, cfg.Advertise, grpc.NewServer()}
	s.Register(m.server)
	go func() { _ = m.server.Serve(listener) }()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.end(t) })
	return m
}

func (m member) end(t *testing.T) {
	t.Helper()
	if err := m.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	m.server.Stop()
}

// TestOneOfSeveralLeads and clients find it, whomever they ask, and follow when
// another takes over.
func TestOneOfSeveralLeads(t *testing.T) {
	memory := store.NewMemory()
	a := among(t, memory)
	if err := a.controller.WaitLeading(within(t)); err != nil {
		t.Fatal(err)
	}
	b, c := among(t, memory), among(t, memory)

	everyone := strings.Join([]string{c.address, b.address, a.address}, ",")
	client, err := metadataclient.Dial(t.Context(), everyone, metadataclient.Options{Watcher: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	beside := local(t, b.Service, metadataclient.Options{}) // in a standby's process
	join(t, client, 1)
	for name, door := range map[string]metadataclient.Client{"dialed": client, "beside": beside} {
		created := create(t, door, name, 1)
		for _, other := range []metadataclient.Client{client, beside} {
			if err := other.WaitRevision(within(t), created.Revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	pong, err := c.Ping(t.Context(), &metadatav1.PingRequest{})
	if err != nil || pong.Active || pong.ControllerEpoch != 0 || pong.ControllerAddress != a.address {
		t.Errorf("a standby's pong: %v, %v", pong, err)
	}
	pong, err = a.Ping(t.Context(), &metadatav1.PingRequest{})
	if err != nil || !pong.Active || pong.ControllerEpoch == 0 || pong.Position.GetRevision() < client.View().Revision {
		t.Errorf("the controller's pong: %v, %v", pong, err)
	}

	was := client.View()
	a.end(t)
	for _, door := range []metadataclient.Client{client, beside} {
		if err := door.WaitRevision(within(t), was.Revision+1<<31); err != nil {
			t.Fatal(err)
		}
		if v := door.View(); len(v.Topics) != len(was.Topics) || v.TermID == was.TermID {
			t.Errorf("after the takeover: %d topics in term %s", len(v.Topics), v.TermID)
		}
	}
	if _, err := client.Heartbeat(within(t), &metadatav1.HeartbeatRequest{NodeId: 1, NodeEpoch: was.Nodes[1].Epoch, Ready: true}); err != nil {
		t.Errorf("heartbeat after the takeover: %v", err)
	}
	create(t, client, "later", 1)
}

// TestStandbyAnswersWithTheControllersAddress, which is all that it knows.
func TestStandbyAnswersWithTheControllersAddress(t *testing.T) {
	memory := store.NewMemory()
	if _, err := memory.Elect(t.Context(), "elsewhere:1"); err != nil {
		t.Fatal(err)
	}
	b := among(t, memory)
	for {
		_, err := b.AllocateProducerIds(t.Context(), &metadatav1.AllocateProducerIdsRequest{})
		e := errcode.Of(err)
		if e.Reason == errcode.NotController && e.Metadata["controller"] == "elsewhere:1" {
			return
		}
		if e.Reason != errcode.ControllerUnavailable { // before the first look
			t.Fatalf("got %v", err)
		}
		if within(t).Err() != nil {
			t.Fatal("it never looks")
		}
	}
}
