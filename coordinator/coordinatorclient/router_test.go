package coordinatorclient_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/coordinatorclient/coordinatortest"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// metadata shows the view that a test gives it.
type metadata struct {
	metadataclient.Client

	mu      sync.Mutex
	view    *metadataclient.View
	changed chan struct{}
}

func newMetadata(owners ...int32) *metadata {
	m := &metadata{changed: make(chan struct{})}
	m.own(owners...)
	return m
}

// own gives shard i to owners[i].
func (m *metadata) own(owners ...int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = &metadataclient.View{Coordinators: map[int32]*metadataclient.Coordinator{}}
	for _, id := range owners {
		m.view.Shards = append(m.view.Shards, metadataclient.Shard{Owner: id, Epoch: 1})
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *metadata) View() *metadataclient.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

func (m *metadata) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// coordinator answers with its name, or with what a test says.
type coordinator struct {
	coordinatortest.Unimplemented
	name    string
	asked   []string
	mu      sync.Mutex
	refuse  func(group string) error
	loading []int32
}

func (c *coordinator) ask(group string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, group)
	if c.refuse == nil {
		return nil
	}
	return c.refuse(group)
}

func (c *coordinator) JoinGroup(_ context.Context, req *coordinatorv1.JoinGroupRequest) (*coordinatorv1.JoinGroupResponse, error) {
	return &coordinatorv1.JoinGroupResponse{LeaderId: c.name}, c.ask(req.GetGroupId())
}

func (c *coordinator) FetchOffsets(_ context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	answer := &coordinatorv1.FetchOffsetsResponse{}
	for _, g := range req.GetGroups() {
		if err := c.ask(g.GetGroupId()); err != nil {
			return nil, err
		}
		answer.Groups = append(answer.Groups, &coordinatorv1.GroupOffsets{Offsets: []*coordinatorv1.Offset{{Topic: g.GetGroupId(), Metadata: c.name}}})
	}
	return answer, nil
}

func (c *coordinator) ListGroups(context.Context, *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	return &coordinatorv1.ListGroupsResponse{
		Groups:        []*coordinatorv1.ListedGroup{{GroupId: c.name}, {GroupId: "moving"}},
		LoadingShards: c.loading,
	}, c.ask("")
}

func newRouter(t *testing.T, meta *metadata, coordinators ...*coordinator) *coordinatorclient.Router {
	r := coordinatorclient.New(meta, coordinatorclient.Options{})
	for i, c := range coordinators {
		r.AddLocal(int32(i+1), c)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func join(t *testing.T, r coordinatorclient.Client, group string) (string, error) {
	answer, err := r.JoinGroup(t.Context(), &coordinatorv1.JoinGroupRequest{GroupId: group})
	return answer.GetLeaderId(), err
}

func TestAGroupGoesToTheOwnerOfItsShard(t *testing.T) {
	one, two := &coordinator{name: "one"}, &coordinator{name: "two"}
	r := newRouter(t, newMetadata(1, 2), one, two)
	for group, want := range map[string]string{"a": "two", "my-group": "one"} {
		if got, err := join(t, r, group); got != want || err != nil {
			t.Errorf("%s went to %s, %v", group, got, err)
		}
	}
}

func TestAMovedShardIsAskedForAgainWhenTheViewMoves(t *testing.T) {
	one, two := &coordinator{name: "one"}, &coordinator{name: "two"}
	meta := newMetadata(1)
	one.refuse = func(string) error {
		meta.own(2)
		return errcode.New(errcode.NotCoordinator, "not here")
	}
	if got, err := join(t, newRouter(t, meta, one, two), "g"); got != "two" || err != nil {
		t.Errorf("answer of %s, %v", got, err)
	}
}

func TestAnOwnerThatLearnsOfItsShardLateIsAskedAgain(t *testing.T) {
	one, refused := &coordinator{name: "one"}, 0
	one.refuse = func(string) error {
		if refused++; refused < 3 {
			return errcode.New(errcode.NotCoordinator, "not yet")
		}
		return nil
	}
	if got, err := join(t, newRouter(t, newMetadata(1), one), "g"); got != "one" || err != nil {
		t.Errorf("answer of %s, %v", got, err)
	}
}

func TestWhatNobodyOwnsIsUnavailable(t *testing.T) {
	silent := &coordinator{refuse: func(string) error { return errcode.New(errcode.NodeUnavailable, "connection refused") }}
	for name, meta := range map[string]*metadata{
		"no coordinator yet": newMetadata(), "no owner": newMetadata(-1), "an owner that is gone": newMetadata(9), "an owner that does not answer": newMetadata(1),
	} {
		if _, err := join(t, newRouter(t, meta, silent), "g"); !errcode.Is(err, errcode.CoordinatorUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newRouter(t, newMetadata(1), silent)
	if _, err := r.CompleteOffsets(t.Context(), &coordinatorv1.CompleteOffsetsRequest{Shard: 1}); !errcode.Is(err, errcode.InvalidArgument) {
		t.Errorf("a shard that cannot be: %v", err)
	}
}

func TestOtherErrorsComeBackAtOnce(t *testing.T) {
	one := &coordinator{refuse: func(string) error { return errcode.New(errcode.CoordinatorLoading, "loading") }}
	if _, err := join(t, newRouter(t, newMetadata(1), one), "g"); !errcode.Is(err, errcode.CoordinatorLoading) || len(one.asked) != 1 {
		t.Errorf("asked %d times: %v", len(one.asked), err)
	}
}

func TestGroupsOfManyShardsAreAnsweredInTheOrderAsked(t *testing.T) {
	one, two := &coordinator{name: "one"}, &coordinator{name: "two"}
	two.refuse = func(string) error { return errcode.New(errcode.CoordinatorLoading, "loading") }
	r := newRouter(t, newMetadata(1, 2, 1), one, two)
	req := &coordinatorv1.FetchOffsetsRequest{}
	groups := []string{"a", "b", "c", "d", "e", "f"} // shards 1 2 0 1 2 0
	for _, g := range groups {
		req.Groups = append(req.Groups, &coordinatorv1.FetchGroupOffsets{GroupId: g})
	}
	answer, err := r.FetchOffsets(t.Context(), req)
	if err != nil || len(answer.GetGroups()) != len(groups) {
		t.Fatalf("%d answers, %v", len(answer.GetGroups()), err)
	}
	for i, g := range answer.GetGroups() {
		if i%3 == 0 {
			if g.GetError().GetReason() != string(errcode.CoordinatorLoading) {
				t.Errorf("%s: %v", groups[i], g)
			}
			continue
		}
		if len(g.GetOffsets()) != 1 || g.GetOffsets()[0].GetTopic() != groups[i] {
			t.Errorf("%s: %v", groups[i], g)
		}
	}
}

func TestListsAreOfAllOwnersAndTellWhatTheyLack(t *testing.T) {
	one, two := &coordinator{name: "one", loading: []int32{4}}, &coordinator{name: "two"}
	two.refuse = func(string) error { return errcode.New(errcode.NodeUnavailable, "gone") }
	r := newRouter(t, newMetadata(1, 2, 1, -1, 1), one, two)
	answer, err := r.ListGroups(t.Context(), &coordinatorv1.ListGroupsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.GetGroups()) != 2 || !slices.Equal(answer.GetLoadingShards(), []int32{1, 3, 4}) {
		t.Errorf("groups %v, lacking %v", answer.GetGroups(), answer.GetLoadingShards())
	}
	two.refuse = nil
	answer, err = r.ListGroups(t.Context(), &coordinatorv1.ListGroupsRequest{})
	if err != nil || len(answer.GetGroups()) != 3 {
		t.Errorf("a group of a moving shard is listed once: %v, %v", answer.GetGroups(), err)
	}
	two.refuse = func(string) error { return errcode.New(errcode.InvalidArgument, "a bad pattern") }
	if _, err := r.ListGroups(t.Context(), &coordinatorv1.ListGroupsRequest{}); !errcode.Is(err, errcode.InvalidArgument) {
		t.Errorf("a bad request: %v", err)
	}
}

func TestACoordinatorInAnotherProcessIsFoundWhereItIsNow(t *testing.T) {
	meta := newMetadata(1)
	r := newRouter(t, meta)
	for _, name := range []string{"first life", "second life"} {
		addr := serve(t, &coordinator{name: name})
		meta.own(1)
		meta.View().Coordinators[1] = &metadataclient.Coordinator{ID: 1, Address: addr}
		if got, err := join(t, r, "g"); got != name || err != nil {
			t.Errorf("answer of %q, %v; want %q", got, err, name)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := join(t, r, "g"); !errcode.Is(err, errcode.CoordinatorUnavailable) && !errcode.Is(err, errcode.ShuttingDown) {
		t.Errorf("after Close: %v", err)
	}
}

func TestErrorsOfAnotherProcessKeepTheirReason(t *testing.T) {
	meta := newMetadata(1)
	addr := serve(t, &coordinator{refuse: func(string) error {
		return errcode.New(errcode.MemberIDRequired, "join again").With("member_id", "m-1")
	}})
	meta.View().Coordinators[1] = &metadataclient.Coordinator{ID: 1, Address: addr}
	_, err := join(t, newRouter(t, meta), "g")
	if e := errcode.Of(err); e == nil || e.Reason != errcode.MemberIDRequired || e.Metadata["member_id"] != "m-1" {
		t.Errorf("got %v", err)
	}
}

func serve(t *testing.T, c *coordinator) string {
	t.Helper()
	server := transport.NewServer(transport.Options{})
	coordinatorv1.RegisterCoordinatorServiceServer(server, c)
	l := listen(t)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
