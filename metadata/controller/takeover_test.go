package controller

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// instance starts a controller that reaches others by ask. Its time is that of
// a synctest bubble.
func instance(t *testing.T, address string, st store.Store, ask func(string) (Pong, error)) *Controller {
	t.Helper()
	cfg := shape
	cfg.Address, cfg.Ping = address, func(_ context.Context, address string, _ *metadatav1.Position) (Pong, error) { return ask(address) }
	c := New(cfg, clock.Real(), slog.New(slog.DiscardHandler), st)
	c.Start()
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	return c
}

// leads waits until c leads and returns how long that took.
func leads(t *testing.T, c *Controller) time.Duration {
	t.Helper()
	began := clock.Real().Now()
	if err := c.WaitLeading(t.Context()); err != nil {
		t.Fatal(err)
	}
	return clock.Real().Since(began)
}

// TestStandbyTakesOverFromASilentController (C7): the silent one holds its
// lease still, and learns that it is lost.
func TestStandbyTakesOverFromASilentController(t *testing.T) {
	synctest.Test(t, standbyTakesOverFromASilentController)
}

func standbyTakesOverFromASilentController(t *testing.T) {
	memory := store.NewMemory()
	a := instance(t, "a", memory, nil)
	leads(t, a)
	b := instance(t, "b", memory, func(address string) (Pong, error) {
		if address == "b" {
			return Pong{}, errors.New("a standby that pings itself")
		}
		return Pong{}, errors.New("no answer")
	})
	changed := a.Changed()
	if took := leads(t, b); took < firstPatience || took > 5*time.Second {
		t.Errorf("takeover took %s", took)
	}
	<-changed
	if b.Image().Epoch <= 1 || b.Active() != "b" {
		t.Errorf("epoch %d, active %q", b.Image().Epoch, b.Active())
	}
}

// TestStandbySaysWhoLeads, and leaves a controller alone that answers, also
// while it loads and so serves nobody yet.
func TestStandbySaysWhoLeads(t *testing.T) { synctest.Test(t, standbySaysWhoLeads) }

func standbySaysWhoLeads(t *testing.T) {
	memory := store.NewMemory()
	lease, err := memory.Elect(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	b := instance(t, "b", memory, func(string) (Pong, error) {
		asked <- struct{}{}
		return Pong{Epoch: lease.Epoch()}, nil
	})
	for range 100 {
		<-asked
	}
	if !lease.HeldWithin(0) {
		t.Fatal("deposed though it answers")
	}
	_, err = b.Change(t.Context(), nil)
	if e := errcode.Of(err); e.Reason != errcode.NotController || e.Metadata["controller"] != "a" {
		t.Errorf("got %v", err)
	}
}

// TestProcessInTheControllersPlaceIsNotTheController: it was started anew at
// the same address, and the lease is of its former self.
func TestProcessInTheControllersPlaceIsNotTheController(t *testing.T) {
	synctest.Test(t, processInTheControllersPlaceIsNotTheController)
}

func processInTheControllersPlaceIsNotTheController(t *testing.T) {
	memory := store.NewMemory()
	if _, err := memory.Elect(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	leads(t, instance(t, "a", memory, func(string) (Pong, error) { return Pong{}, nil }))
}

// restore sets the store back to pairs, as a snapshot does.
func restore(t *testing.T, st store.Store, pairs []store.Pair) {
	t.Helper()
	storetest.Depose(t, st)
	lease, err := st.Elect(t.Context(), "operator")
	if err != nil {
		t.Fatal(err)
	}
	now, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var ops []store.Op
	old := map[string]bool{}
	for _, p := range pairs {
		old[p.Key] = true
		ops = append(ops, store.Op{Kind: store.Set, Key: p.Key, Value: p.Value})
	}
	for _, p := range now {
		if !old[p.Key] {
			ops = append(ops, store.Op{Kind: store.Delete, Key: p.Key})
		}
	}
	if _, err := st.Commit(t.Context(), lease.Fence(), ops); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// bubble is lead in a synctest bubble, whose time is the clock's.
func bubble(t *testing.T, st store.Store) rig {
	t.Helper()
	c := instance(t, "a", st, func(string) (Pong, error) { return Pong{}, errors.New("nobody is there") })
	leads(t, c)
	return rig{Controller: c, t: t}
}

// join puts a node into service.
func (r rig) join(id int32) {
	r.t.Helper()
	epoch, revision, err := r.register(id, "a", 0)
	if err != nil || r.beat(Beat{NodeID: id, NodeEpoch: epoch, Revision: revision, Ready: true}) {
		r.t.Fatalf("node %d is not in service: %v", id, err)
	}
}

func (r rig) createTopic(name string) {
	r.t.Helper()
	_, err := r.Change(r.t.Context(), func(*cluster.State) (cluster.Change, error) {
		return cluster.CreateTopic{Name: name, ID: topicid.New(), Assignment: [][]int32{{1}}}, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// refuses waits until the controller says that metadata was set back.
func refuses(t *testing.T, c *Controller) {
	t.Helper()
	for changed := c.Changed(); !errcode.Is(c.Fatal(), errcode.MetadataRegressed); changed = c.Changed() {
		<-changed
	}
	if _, err := c.Change(t.Context(), nil); !errcode.Is(err, errcode.MetadataRegressed) {
		t.Errorf("got %v", err)
	}
	if c.Image() != nil {
		t.Error("it serves what was set back")
	}
}

// TestOwnPastIsMissed (C11): the same process finds the store at an earlier
// state of the same term.
func TestOwnPastIsMissed(t *testing.T) { synctest.Test(t, ownPastIsMissed) }

func ownPastIsMissed(t *testing.T) {
	memory := store.NewMemory()
	r := bubble(t, memory)
	r.join(1)
	snapshot, _ := memory.List(t.Context(), "")
	r.createTopic("later")
	restore(t, memory, snapshot)
	refuses(t, r.Controller)
}

// TestNewProcessLearnsOfALostPast (C11): it knows nothing, and a node or a
// watcher shows it. The operator's new generation ends the matter.
func TestNewProcessLearnsOfALostPast(t *testing.T) { synctest.Test(t, newProcessLearnsOfALostPast) }

func newProcessLearnsOfALostPast(t *testing.T) {
	memory := store.NewMemory()
	r := bubble(t, memory)
	r.join(1)
	r.createTopic("earlier")
	snapshot, _ := memory.List(t.Context(), "")
	r.createTopic("later")
	seen := r.Image().Position()
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	restore(t, memory, snapshot)

	next := bubble(t, memory)
	if err := next.CheckSeen(t.Context(), nil); err != nil {
		t.Fatalf("who has seen nothing: %v", err)
	}
	stranger := &metadatav1.Position{Generation: 1, Revision: 1 << 60, ClusterId: "other"}
	if err := next.CheckSeen(t.Context(), stranger); !errcode.Is(err, errcode.InvalidArgument) || next.Image() == nil {
		t.Fatalf("who has seen another cluster: %v", err)
	}
	_, _, err := next.RegisterNode(t.Context(), cluster.RegisterNode{NodeID: 1, Incarnation: "b"}, seen.ClusterId, seen)
	if !errcode.Is(err, errcode.MetadataRegressed) {
		t.Fatalf("got %v", err)
	}
	refuses(t, next.Controller)

	generation, err := AcceptRestore(t.Context(), next.cfg, clock.Real(), slog.New(slog.DiscardHandler), memory)
	if err != nil || generation != 2 {
		t.Fatalf("generation %d, %v", generation, err)
	}
	for changed := next.Changed(); next.Image() == nil; changed = next.Changed() {
		<-changed
	}
	if image := next.Image(); image.Revision <= seen.Revision || image.State.Topics["earlier"].Partitions[0].LeaderEpoch < cluster.RebaseStep {
		t.Errorf("revision %d after %d, partitions %v", image.Revision, seen.Revision, image.State.Topics["earlier"].Partitions)
	}
	if err := next.CheckSeen(t.Context(), seen); err != nil {
		t.Errorf("after a new generation: %v", err)
	}
}

// TestAnEmptiedStoreIsNoNewCluster to a process that knows the old one.
func TestAnEmptiedStoreIsNoNewCluster(t *testing.T) { synctest.Test(t, anEmptiedStoreIsNoNewCluster) }

func anEmptiedStoreIsNoNewCluster(t *testing.T) {
	memory := store.NewMemory()
	r := bubble(t, memory)
	restore(t, memory, nil)
	refuses(t, r.Controller)
}

// TestEditsBehindTheControllerEndItsTerm (C13): it reads everything anew.
func TestEditsBehindTheControllerEndItsTerm(t *testing.T) {
	for name, edit := range map[string]func(*term){
		"changed": func(t *term) { t.index[keyCluster]++ },
		"added":   func(t *term) { delete(t.index, keyCluster) },
		"removed": func(t *term) { t.index["topic/gone/root"] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := lead(t, clock.NewManual(noon), store.NewMemory())
			if err := r.do(t.Context(), func(t *term) error { t.audit(); return t.failed }); err != nil {
				t.Fatalf("an honest store: %v", err)
			}
			changed := r.Changed()
			_ = r.do(t.Context(), func(t *term) error { edit(t); t.audit(); return nil })
			<-changed
		})
	}
}

// doubtful is a store whose leases are never sure.
type doubtful struct{ store.Store }

type unsure struct{ store.Lease }

func (unsure) HeldWithin(time.Duration) bool { return false }

func (d doubtful) Elect(ctx context.Context, candidate string) (store.Lease, error) {
	l, err := d.Store.Elect(ctx, candidate)
	return unsure{l}, err
}

// TestHeartbeatsAreAnsweredOnlyWhileTheLeaseIsSure: a node's own lease (R12)
// hangs on the answer.
func TestHeartbeatsAreAnsweredOnlyWhileTheLeaseIsSure(t *testing.T) {
	r := lead(t, clock.NewManual(noon), doubtful{store.NewMemory()})
	epoch, revision, err := r.register(1, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Heartbeat(t.Context(), Beat{NodeID: 1, NodeEpoch: epoch, Revision: revision}); !errcode.Is(err, errcode.ControllerUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestStandbyTellsTheControllerWhatItMisses (C11): one that knows the lost past
// stands by while one that does not leads, and sends clients there.
func TestStandbyTellsTheControllerWhatItMisses(t *testing.T) {
	synctest.Test(t, standbyTellsTheControllerWhatItMisses)
}

func standbyTellsTheControllerWhatItMisses(t *testing.T) {
	memory := store.NewMemory()
	lease, err := memory.Elect(t.Context(), "ignorant")
	if err != nil {
		t.Fatal(err)
	}
	lost := &metadatav1.Position{Generation: 1, Revision: 9<<epochShift + 9, TermId: "lost", ClusterId: "c"}
	told := make(chan *metadatav1.Position)
	c := New(Config{
		Address: "b", FenceTimeout: fence,
		Ping: func(ctx context.Context, _ string, seen *metadatav1.Position) (Pong, error) {
			select {
			case told <- seen:
			case <-ctx.Done():
			}
			return Pong{Epoch: lease.Epoch(), Position: &metadatav1.Position{Generation: 1, Revision: 1, ClusterId: "c"}}, nil
		},
	}, clock.Real(), slog.New(slog.DiscardHandler), memory)
	c.evidence.proof = lost
	c.setFatal(regressed(nil, lost))
	c.Start()
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	if seen := <-told; seen != lost {
		t.Errorf("told %v", seen)
	}
	synctest.Wait()
	if _, err := c.Change(t.Context(), nil); !errcode.Is(err, errcode.NotController) {
		t.Errorf("got %v", err)
	}
}
