package discovery

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/resolver"
)

// conn notes what a resolver tells grpc-go.
type conn struct {
	resolver.ClientConn
	states chan resolver.State
	errs   chan error
}

func (c *conn) UpdateState(s resolver.State) error { c.states <- s; return nil }
func (c *conn) ReportError(err error)              { c.errs <- err }

func resolve(t *testing.T, src Source, role string) *conn {
	t.Helper()
	target, err := url.Parse(Target(role))
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{states: make(chan resolver.State, 9), errs: make(chan error, 9)}
	r, err := NewResolver(src).Build(resolver.Target{URL: *target}, c, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return c
}

func TestInstancesOfARoleAreResolvedInOrderOfTheirIDs(t *testing.T) {
	src := Static{"storage-node": {{ID: "2", Addr: "b:1"}, {ID: "1", Addr: "a:1", Rack: "r1"}}}
	state := <-resolve(t, src, "storage-node").states
	if len(state.Addresses) != 2 || state.Addresses[0].Addr != "a:1" || state.Addresses[1].Addr != "b:1" {
		t.Fatalf("addresses %v", state.Addresses)
	}
	if inst, ok := InstanceOf(state.Addresses[0]); !ok || inst.ID != "1" || inst.Rack != "r1" {
		t.Errorf("instance %v, %v", inst, ok)
	}
}

func TestRoleWithoutInstancesIsAnErrorThatNamesIt(t *testing.T) {
	if err := <-resolve(t, Static{}, "gateway").errs; !strings.Contains(err.Error(), "gateway") {
		t.Error(err)
	}
}

type broken struct{ err error }

func (b broken) Watch(context.Context, string, func([]Instance)) error { return b.err }

func TestSourceThatGivesUpIsReported(t *testing.T) {
	cause := errors.New("catalog gone")
	if err := <-resolve(t, broken{cause}, "gateway").errs; !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestTargetMustNameARole(t *testing.T) {
	if _, err := NewResolver(Static{}).Build(resolver.Target{URL: url.URL{Scheme: Scheme}}, &conn{}, resolver.BuildOptions{}); err == nil {
		t.Error("an empty role was accepted")
	}
}
