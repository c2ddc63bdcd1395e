package metadataclient

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// cast is a set of instances that answer by script, and what they were asked.
type cast struct {
	asked   []string
	answers map[string]func() error // by address
}

// actor is one of them.
type actor struct {
	metadatav1.MetadataServiceClient
	address string
	cast    *cast
}

func (a actor) CreateTopic(context.Context, *metadatav1.CreateTopicRequest, ...grpc.CallOption) (*metadatav1.CreateTopicResponse, error) {
	a.cast.asked = append(a.cast.asked, a.address)
	if err := a.cast.answers[a.address](); err != nil {
		return nil, err
	}
	return &metadatav1.CreateTopicResponse{Revision: 7}, nil
}

func (c *cast) client(known ...string) *client {
	s := newInstances(transport.DialOptions{}, clock.Real(), known...)
	for address := range c.answers {
		s.open[address] = newInstance(address, actor{address: address, cast: c}, nil)
	}
	client := &client{instances: s, opts: Options{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)}}
	client.view.Store(emptyView())
	return client
}

func leads() error { return nil }

func standby(controller string) func() error {
	return func() error { return errcode.New(errcode.NotController, "no").With("controller", controller) }
}

func says(r errcode.Reason) func() error { return func() error { return errcode.New(r, "no") } }

func TestCallsFindTheController(t *testing.T) {
	for name, tt := range map[string]struct {
		known   []string
		answers map[string]func() error
		asked   []string
		fails   errcode.Reason
	}{
		"the first leads":                           {[]string{"a", "b"}, map[string]func() error{"a": leads}, []string{"a"}, ""},
		"a standby knows":                           {[]string{"a", "b", "c"}, map[string]func() error{"a": standby("c"), "c": leads}, []string{"a", "c"}, ""},
		"a standby knows a stranger":                {[]string{"a"}, map[string]func() error{"a": standby("z"), "z": leads}, []string{"a", "z"}, ""},
		"a standby does not know":                   {[]string{"a", "b"}, map[string]func() error{"a": says(errcode.ControllerUnavailable), "b": leads}, []string{"a", "b"}, ""},
		"what may have been done is not done again": {[]string{"a", "b"}, map[string]func() error{"a": says(errcode.NodeUnavailable), "b": leads}, []string{"a"}, errcode.NodeUnavailable},
		"what was decided is final":                 {[]string{"a", "b"}, map[string]func() error{"a": says(errcode.TopicAlreadyExists), "b": leads}, []string{"a"}, errcode.TopicAlreadyExists},
	} {
		t.Run(name, func(t *testing.T) {
			cast := &cast{answers: tt.answers}
			c := cast.client(tt.known...)
			_, err := c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{})
			if errcode.ReasonOf(err) != tt.fails || !slices.Equal(cast.asked, tt.asked) {
				t.Errorf("asked %v: %v", cast.asked, err)
			}
		})
	}
}

// TestNextCallGoesElsewhere after one that failed: whoever calls again is not
// held up by an instance that is gone.
func TestNextCallGoesElsewhere(t *testing.T) {
	cast := &cast{answers: map[string]func() error{"a": says(errcode.NodeUnavailable), "b": leads}}
	c := cast.client("a", "b")
	for range 3 {
		_, _ = c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{})
	}
	if !slices.Equal(cast.asked, []string{"a", "b", "b"}) {
		t.Errorf("asked %v", cast.asked)
	}
}

// TestCallsOutliveATakeover: for a while nobody leads, and standbys still name
// the one that is gone.
func TestCallsOutliveATakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := clock.Real().Now()
		cast := &cast{}
		cast.answers = map[string]func() error{
			"a": standby("b"),
			"b": func() error {
				if clock.Real().Since(began) < 5*time.Second {
					return standby("a")()
				}
				return nil
			},
		}
		if _, err := cast.client("a", "b").CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{}); err != nil {
			t.Error(err)
		}
		if n := len(cast.asked); n > 60 {
			t.Errorf("asked %d times in 5 s", n)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cast := &cast{answers: map[string]func() error{"a": says(errcode.ControllerUnavailable)}}
		began := clock.Real().Now()
		_, err := cast.client("a").CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{})
		if took := clock.Real().Since(began); !errcode.Is(err, errcode.ControllerUnavailable) || took < patient || took > 2*patient {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestInstancesAreLookedUp(t *testing.T) {
	if _, err := Dial(t.Context(), discovery.Target(Role), Options{}); !errcode.Is(err, errcode.InvalidArgument) {
		t.Errorf("without a place to look: %v", err)
	}
	for _, bad := range []string{"", "a,,b", "a, "} {
		if _, err := Dial(t.Context(), bad, Options{}); !errcode.Is(err, errcode.InvalidArgument) {
			t.Errorf("target %q: %v", bad, err)
		}
	}
	c := (&cast{answers: map[string]func() error{"x": leads, "y": leads}}).client()
	if _, err := c.instances.pick(); !errcode.Is(err, errcode.ControllerUnavailable) {
		t.Errorf("before anyone is known: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.opts.Instances = discovery.Static{Role: {{ID: "2", Addr: "y"}, {ID: "1", Addr: "x"}}}
	found := make(chan struct{})
	go func() {
		c.discover(ctx)
		close(found)
	}()
	if _, err := c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{}); err != nil {
		t.Error(err)
	}
	cancel()
	<-found
	if i, err := c.instances.pick(); err != nil || i.address != "x" {
		t.Errorf("picked %v, %v", i, err)
	}
}

// TestSilentStreamIsLeft: its process hangs, so nothing ever ends it (G2). Signs
// of life alone change nothing.
func TestSilentStreamIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{watches: [][]*metadatav1.WatchResponse{
			{snapshot(1), {Revision: 1}, nil}, // nil: silence
			{snapshot(2)},
		}}
		c := Local(s, Options{})
		defer c.Close()
		if err := c.WaitRevision(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		changed, began := c.Changed(), clock.Real().Now()
		if err := c.WaitRevision(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		<-changed
		if took := clock.Real().Since(began); took < maxSilence || took > 2*maxSilence {
			t.Errorf("left after %s", took)
		}
		if v := c.View(); v.Revision != 2 {
			t.Errorf("revision %d", v.Revision)
		}
	})
}

// TestWordOfADeadControllerIsNotBelieved: a standby names it for some seconds
// more, and calls to one that hangs would wait for ever.
func TestWordOfADeadControllerIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cast := &cast{answers: map[string]func() error{"a": says(errcode.RequestTimedOut), "b": standby("a")}}
		c := cast.client("a", "b")
		_, _ = c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{})
		began := clock.Real().Now()
		_, err := c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{}) // fails at a, in the end
		if took := clock.Real().Since(began); !errcode.Is(err, errcode.RequestTimedOut) || took < distrust || cast.asked[1] != "b" {
			t.Errorf("asked %v: %v after %s", cast.asked, err, took)
		}
	})
}

// hung is an instance that never answers.
type hung struct {
	metadatav1.MetadataServiceClient
	asked chan struct{}
}

func (h hung) CreateTopic(ctx context.Context, _ *metadatav1.CreateTopicRequest, _ ...grpc.CallOption) (*metadatav1.CreateTopicResponse, error) {
	close(h.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestCallsToOneThatHangsEnd as soon as its watch has been silent for too long;
// nobody knows whether they were done.
func TestCallsToOneThatHangsEnd(t *testing.T) {
	c := (&cast{}).client("a", "b")
	i := newInstance("a", hung{asked: make(chan struct{})}, nil)
	c.instances.open["a"] = i
	failed := make(chan error)
	go func() {
		_, err := c.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{})
		failed <- err
	}()
	<-i.rpc.(hung).asked
	c.instances.silent(i)
	if err := <-failed; !errcode.Is(err, errcode.NodeUnavailable) {
		t.Errorf("got %v", err)
	}
	if c.instances.active != "b" {
		t.Errorf("the next call goes to %q", c.instances.active)
	}
}

// TestCallsSayWhatWasSeen (C11), and what came from outside says nothing.
func TestCallsSayWhatWasSeen(t *testing.T) {
	i := newInstance(thisProcess, nil, nil)
	outside := withSeen(t.Context(), i, &metadatav1.Position{Revision: 9})
	if p := SeenIn(outside); p.GetRevision() != 9 {
		t.Errorf("seen %v", p)
	}
	if p := SeenIn(withSeen(outside, i, nil)); p != nil {
		t.Errorf("passed on %v", p)
	}
	if p := SeenIn(metadata.NewIncomingContext(t.Context(), metadata.Pairs(seenHeader, "\xff"))); p != nil {
		t.Errorf("garbage is %v", p)
	}
}
