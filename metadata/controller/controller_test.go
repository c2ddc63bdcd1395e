package controller

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

const fence = 4 * time.Second

var shape = Config{
	FenceTimeout: fence, AckTimeout: time.Second, MaxMoves: 5,
	Defaults: cluster.Defaults{Partitions: 1, ReplicationFactor: 1, MinInsyncReplicas: 1, Shards: 4},
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

type rig struct {
	*Controller
	t     *testing.T
	clock *clock.Manual
}

func lead(t *testing.T, clk *clock.Manual, st store.Store) rig {
	t.Helper()
	c := New(shape, clk, slog.New(slog.DiscardHandler), st)
	c.Start()
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	if err := c.WaitLeading(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := rig{c, t, clk}
	r.settle()
	return r
}

// settle returns once the loop has done what came before.
func (r rig) settle() {
	for range 2 {
		_ = r.do(r.t.Context(), func(*term) error { return nil })
	}
}

// pass lets time go by in steps that the loop can follow; each step beats.
func (r rig) pass(d time.Duration, beat func()) {
	const step = fence / 8
	for ; d > 0; d -= step {
		beat()
		for r.clock.Pending() == 0 {
			r.settle()
		}
		r.clock.Advance(step)
		for r.clock.Pending() == 0 { // the tick was taken once its timer runs again
			r.settle()
		}
	}
}

func (r rig) register(id int32, incarnation string, previous int64) (int64, int64, error) {
	n, image, err := r.RegisterNode(r.t.Context(), cluster.RegisterNode{NodeID: id, Incarnation: incarnation, PreviousEpoch: previous, Address: "x:1"}, "", nil)
	return n.GetNodeEpoch(), func() int64 {
		if image == nil {
			return 0
		}
		return image.Revision
	}(), err
}

func (r rig) beat(b Beat) bool {
	r.t.Helper()
	heard, err := r.Heartbeat(r.t.Context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return heard.Fenced
}

func TestNodeServesOnceReadyAndUpToDate(t *testing.T) {
	r := lead(t, clock.NewManual(noon), store.NewMemory())
	epoch, revision, err := r.register(1, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !r.beat(Beat{NodeID: 1, NodeEpoch: epoch, Revision: revision}) {
		t.Error("in service before it is ready")
	}
	if !r.beat(Beat{NodeID: 1, NodeEpoch: epoch, Revision: revision - 1, Ready: true}) {
		t.Error("in service before it saw its own registration (N4)")
	}
	if r.beat(Beat{NodeID: 1, NodeEpoch: epoch, Revision: revision, Ready: true}) {
		t.Error("still fenced")
	}
	for _, tt := range []struct {
		beat Beat
		want errcode.Reason
	}{
		{Beat{NodeID: 2, NodeEpoch: 1}, errcode.UnknownNode},
		{Beat{NodeID: 1, NodeEpoch: epoch - 1}, errcode.StaleNodeEpoch},
		{Beat{NodeID: 1, NodeEpoch: epoch + 1}, errcode.MetadataRegressed},
	} {
		if _, err := r.Heartbeat(t.Context(), tt.beat); !errcode.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt.beat, err)
		}
	}
	if !r.beat(Beat{NodeID: 1, NodeEpoch: epoch, Draining: true}) {
		t.Error("a drained node is in service")
	}
	if again, _, err := r.register(1, "b", 0); err != nil || again <= epoch {
		t.Errorf("after draining: epoch %d, %v", again, err)
	}
}

func TestSilenceFencesAndBeatsDoNot(t *testing.T) {
	r := lead(t, clock.NewManual(noon), store.NewMemory())
	quiet, revision, _ := r.register(1, "a", 0)
	r.beat(Beat{NodeID: 1, NodeEpoch: quiet, Revision: revision, Ready: true})
	loud, revision, _ := r.register(2, "a", 0)
	alive := func() { r.beat(Beat{NodeID: 2, NodeEpoch: loud, Revision: revision, Ready: true}) }
	alive()
	if _, _, err := r.register(1, "b", 0); !errcode.Is(err, errcode.NodeUnavailable) || errcode.Of(err).RetryAfter <= 0 {
		t.Errorf("a second incarnation beside a live one: %v", err)
	}
	r.pass(fence-fence/4, alive)
	if s := r.Image().State; !s.Live(1) || !s.Live(2) {
		t.Fatal("fenced too early")
	}
	r.pass(fence, alive)
	if s := r.Image().State; s.Live(1) || !s.Live(2) {
		t.Fatalf("node 1 lives: %v, node 2 lives: %v", s.Live(1), s.Live(2))
	}
	if r.beat(Beat{NodeID: 1, NodeEpoch: quiet, Revision: r.Image().Revision, Ready: true}) {
		t.Error("a node whose beats are back stays fenced")
	}
}

func TestTakeoverWaitsOneWholeTimeout(t *testing.T) {
	clk, memory := clock.NewManual(noon), store.NewMemory()
	r := lead(t, clk, memory)
	epoch, revision, _ := r.register(1, "a", 0)
	r.beat(Beat{NodeID: 1, NodeEpoch: epoch, Revision: revision, Ready: true})
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Hour)
	next := lead(t, clk, memory)
	next.pass(fence-fence/4, func() {})
	if !next.Image().State.Live(1) {
		t.Fatal("fenced for silence towards the controller before (C9)")
	}
	next.pass(fence, func() {})
	if next.Image().State.Live(1) {
		t.Fatal("never fenced")
	}
}

// TestHalfWrittenTopicNeverExisted: shards without a root are swept.
func TestHalfWrittenTopicNeverExisted(t *testing.T) {
	memory := store.NewMemory()
	lease, _ := memory.Elect(t.Context(), "dead")
	w := writer{index: map[string]int64{}}
	orphan := shardKey(topicid.New(), 0)
	if _, err := memory.Commit(t.Context(), lease.Fence(), []store.Op{w.put(keyCluster, []byte("c"), nil), w.put(orphan, nil, nil)}); err != nil {
		t.Fatal(err)
	}
	_ = lease.Release(t.Context())
	r := lead(t, clock.NewManual(noon), memory)
	if n := len(r.Image().State.Topics); n != 0 {
		t.Errorf("%d topics", n)
	}
	if pairs, _ := memory.List(t.Context(), prefixTopic); len(pairs) != 0 {
		t.Errorf("left over: %v", pairs)
	}
}

func TestDamagedTruthIsNotServed(t *testing.T) {
	for name, pairs := range map[string][]store.Op{
		"bytes":      {{Kind: store.Set, Key: keyCluster, Value: []byte("garbage")}},
		"lost id":    {{Kind: store.Set, Key: keyNodeEpoch, Value: store.Seal(keyNodeEpoch, store.Stamp{}, number(1), nil)}},
		"lost shard": {{Kind: store.Set, Key: rootKey(topicid.ID{1}), Value: (&writer{}).put(rootKey(topicid.ID{1}), []byte{1}, nil).Value}},
		"stranger":   {{Kind: store.Set, Key: "what", Value: store.Seal("what", store.Stamp{}, nil, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			memory := store.NewMemory()
			lease, _ := memory.Elect(t.Context(), "x")
			if _, err := memory.Commit(t.Context(), lease.Fence(), pairs); err != nil {
				t.Fatal(err)
			}
			_ = lease.Release(t.Context())
			c := New(Config{FenceTimeout: fence}, clock.NewManual(noon), slog.New(slog.DiscardHandler), memory)
			c.Start()
			defer c.Stop(t.Context()) //nolint:errcheck // nothing runs any more
			if err := c.WaitLeading(t.Context()); !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("got %v", err)
			}
			if _, err := c.Heartbeat(t.Context(), Beat{}); !errcode.Is(err, errcode.ControllerUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
}
