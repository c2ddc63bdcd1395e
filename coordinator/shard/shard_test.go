package shard_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/journal/journaltest"
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the register machine is asked.
type (
	set  struct{ value string }
	get  struct{}
	call struct{ what string } // made, and its result answered
	wake struct{ after time.Duration }
	park struct{}
	huge struct{ bytes int }

	views struct{}
)

// register is a machine of one value.
type register struct {
	value  string
	views  int
	parked []shard.Ticket
	calls  map[uint64]shard.Ticket
	timers *shard.Timers[shard.Ticket]
}

func newRegister() shard.Machine {
	return &register{calls: map[uint64]shard.Ticket{}, timers: shard.NewTimers[shard.Ticket]()}
}

func (r *register) Replay(rec journal.Record) error {
	var v coordinatorv1.PartError
	if err := journal.ReadValue(rec.Value, &v); err != nil {
		return err
	}
	r.value = v.GetReason()
	return nil
}

func (r *register) Deadline() time.Time { return r.timers.Next() }

func (r *register) Step(now time.Time, event shard.Event) (e shard.Effects) {
	switch event := event.(type) {
	case shard.View:
		r.views++
	case shard.Tick:
		for ticket, ok := r.timers.Due(now); ok; ticket, ok = r.timers.Due(now) {
			e.Answer(ticket, "woken")
		}
	case shard.Result:
		e.Answer(r.calls[event.ID], event.Answer)
	case shard.Request:
		r.request(now, event, &e)
	}
	return e
}

func (r *register) request(now time.Time, q shard.Request, e *shard.Effects) {
	switch m := q.Message.(type) {
	case set:
		r.value = m.value
		e.Write(journal.Put(1, &coordinatorv1.PartError{Reason: m.value}))
		e.Answer(q.Ticket, m.value)
	case get:
		e.Answer(q.Ticket, r.value)
	case call:
		r.value = m.what
		r.calls[uint64(q.Ticket)] = q.Ticket
		e.Write(journal.Put(1, &coordinatorv1.PartError{Reason: m.what}))
		e.Calls = append(e.Calls, shard.Call{ID: uint64(q.Ticket), Message: m.what})
	case wake:
		r.timers.Set(q.Ticket, now.Add(m.after))
	case park:
		r.parked = append(r.parked, q.Ticket)
	case views:
		e.Answer(q.Ticket, strconv.Itoa(r.views))
	case huge:
		e.Write(journal.Put(1, &coordinatorv1.PartError{Reason: string(make([]byte, m.bytes))}))
		e.Answer(q.Ticket, "")
	}
}

// world is what a shard stands on, in a bubble.
type world struct {
	*testing.T
	meta   *journaltest.Metadata
	store  *journaltest.Storage
	owned  atomic.Bool
	called func(message any) any
}

func inBubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, meta: journaltest.NewMetadata("__state"), store: journaltest.NewStorage()}
		w.owned.Store(true)
		test(w)
	})
}

func (w *world) start(epoch int64) *shard.Shard {
	s := shard.Start(shard.Config{
		Name: "register", Epoch: epoch, Topic: "__state", AppendTimeout: 5 * time.Second, CallTimeout: 2 * time.Second, MaxWaiting: 100,
	}, shard.Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: w.store,
		Metrics: shard.NewMetrics("register", nil), NewMachine: newRegister, Owned: w.owned.Load,
		Do: func(_ context.Context, message any) (any, error) { return w.called(message), nil },
	})
	w.Cleanup(s.Stop)
	return s
}

// serving starts a shard and waits until it serves.
func (w *world) serving(epoch int64) *shard.Shard {
	w.Helper()
	s := w.start(epoch)
	synctest.Wait()
	if s.State() != shard.Serving {
		w.Fatalf("the shard is %s", s.State())
	}
	return s
}

func (w *world) want(s *shard.Shard, message any, want string) {
	w.Helper()
	if got, err := s.Ask(w.Context(), message); err != nil || got != want {
		w.Errorf("%T: got %v, %v; want %q", message, got, err, want)
	}
}

func (w *world) wantErr(s *shard.Shard, message any, want errcode.Reason) {
	w.Helper()
	if got, err := s.Ask(w.Context(), message); !errcode.Is(err, want) {
		w.Errorf("%T: got %v, %v; want %s", message, got, err, want)
	}
}

func TestWhatWasAnsweredSurvivesTheOwner(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		w.want(s, set{"a"}, "a")
		w.want(s, set{"b"}, "b")
		s.Stop()
		w.want(w.serving(2), get{}, "b")
	})
}

// TestNothingIsToldBeforeItIsDurable holds an append back: neither the writer
// nor a reader hears of it, and what comes meanwhile goes into one append.
func TestNothingIsToldBeforeItIsDurable(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		hold, appends := make(chan struct{}), 0
		w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
			appends++
			<-hold
			return nil
		})
		var told atomic.Int32
		var asking sync.WaitGroup
		for _, m := range []any{set{"a"}, get{}, set{"b"}, set{"c"}, get{}} {
			asking.Go(func() {
				if _, err := s.Ask(w.Context(), m); err != nil {
					w.Error(err)
				}
				told.Add(1)
			})
			synctest.Wait()
		}
		if told.Load() != 0 || appends != 1 {
			w.Errorf("%d were told, %d appends", told.Load(), appends)
		}
		close(hold)
		asking.Wait()
		if appends != 2 {
			w.Errorf("%d appends, want 2: the second takes all that has gathered", appends)
		}
	})
}

func TestALostAnswerMakesTheShardReadItsJournalAnew(t *testing.T) {
	for name, landed := range map[string]bool{"the append landed": true, "the append was lost": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				s := w.serving(1)
				w.want(s, set{"a"}, "a")
				lose := func(*storageclient.AppendPartition) error {
					return errcode.New(errcode.NodeUnavailable, "connection reset")
				}
				if landed { // and cannot be read, else the answer is found in the log
					w.store.AfterAppend(lose)
					w.store.BeforeFetch(func(*storageclient.FetchPartition) error { return errcode.New(errcode.NodeUnavailable, "away") })
				} else {
					w.store.BeforeAppend(lose)
				}
				parked := make(chan error, 1)
				go func() {
					_, err := s.Ask(w.Context(), park{})
					parked <- err
				}()
				synctest.Wait()
				w.wantErr(s, set{"b"}, errcode.CoordinatorUnavailable)
				if err := <-parked; !errcode.Is(err, errcode.CoordinatorUnavailable) {
					w.Errorf("who waited heard %v", err)
				}
				synctest.Wait()
				w.wantErr(s, get{}, errcode.CoordinatorLoading)
				w.store.BeforeAppend(nil)
				w.store.AfterAppend(nil)
				w.store.BeforeFetch(nil)
				time.Sleep(10 * time.Second)
				want := "a"
				if landed {
					want = "b"
				}
				w.want(s, get{}, want)
			})
		})
	}
}

// TestAStallOfTheDiskCostsNobodyItsPlace: the answer to an append comes later
// than a call may take. Who has joined stays, who waits goes on waiting.
func TestAStallOfTheDiskCostsNobodyItsPlace(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		woken := make(chan error, 1)
		go func() {
			_, err := s.Ask(w.Context(), wake{time.Minute})
			woken <- err
		}()
		synctest.Wait()
		stalled := false
		w.store.AfterAppend(func(*storageclient.AppendPartition) error {
			if stalled {
				return nil
			}
			stalled = true
			time.Sleep(3 * time.Second) // of the bubble
			return errcode.New(errcode.RequestTimedOut, "too late")
		})
		w.want(s, set{"a"}, "a")
		if err := <-woken; err != nil {
			w.Errorf("who waited heard %v", err)
		}
	})
}

func TestAZombieIsLostAndSaysSo(t *testing.T) {
	inBubble(t, func(w *world) {
		zombie := w.serving(1)
		owner := w.serving(2)
		w.want(owner, set{"new"}, "new")
		w.wantErr(zombie, set{"old"}, errcode.CoordinatorUnavailable)
		synctest.Wait()
		if zombie.State() != shard.Lost {
			w.Errorf("the zombie is %s", zombie.State())
		}
		w.wantErr(zombie, get{}, errcode.NotCoordinator)
		w.want(owner, get{}, "new")
	})
}

func TestWhoIsNotTheOwnerAnyMoreDoesNotAnswer(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		w.store.AfterAppend(func(*storageclient.AppendPartition) error {
			w.owned.Store(false) // while the append was under way
			return nil
		})
		w.wantErr(s, set{"a"}, errcode.NotCoordinator)
		w.wantErr(s, get{}, errcode.NotCoordinator)
		w.owned.Store(true)
		w.want(s, get{}, "a")
	})
}

func TestAShardThatLoadsSaysSo(t *testing.T) {
	inBubble(t, func(w *world) {
		w.store.BeforeFetch(func(*storageclient.FetchPartition) error {
			return errcode.New(errcode.NodeUnavailable, "away")
		})
		s := w.start(1)
		synctest.Wait()
		w.wantErr(s, get{}, errcode.CoordinatorLoading)
		s.Stop()
		w.wantErr(s, get{}, errcode.NotCoordinator)
	})
}

func TestAJournalThatCannotBeUnderstoodKeepsTheShardLoading(t *testing.T) {
	inBubble(t, func(w *world) {
		id := storageclient.PartitionID{Topic: w.meta.View().Topics["__state"].ID}
		s := w.serving(1)
		w.want(s, set{"a"}, "a")
		s.Stop()
		w.store.Corrupt(id, journal.Record{Key: journal.Key(1), Value: []byte{99}})
		s = w.start(2)
		time.Sleep(time.Minute)
		w.wantErr(s, get{}, errcode.CoordinatorLoading)
	})
}

func TestCallsBeginOnceTheirStepIsDurable(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		durable := false
		w.store.AfterAppend(func(*storageclient.AppendPartition) error {
			durable = true
			return nil
		})
		w.called = func(message any) any {
			if !durable {
				w.Error("called before the step was durable")
			}
			return "done " + message.(string)
		}
		w.want(s, call{"it"}, "done it")
	})
}

func TestTheMachineIsWokenAtItsDeadline(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		var all sync.WaitGroup
		for _, after := range []time.Duration{3 * time.Hour, time.Second, time.Minute} {
			began := time.Now()
			all.Go(func() {
				w.want(s, wake{after}, "woken")
				if took := time.Since(began); took != after {
					w.Errorf("woken after %s, want %s", took, after)
				}
			})
		}
		all.Wait()
	})
}

func TestStopWaitsForTheAppendUnderWayAndAnswersIt(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
			time.Sleep(time.Second)
			return nil
		})
		var all sync.WaitGroup
		all.Go(func() { w.want(s, set{"a"}, "a") })
		synctest.Wait()
		all.Go(func() { w.wantErr(s, set{"b"}, errcode.NotCoordinator) })
		all.Go(func() { w.wantErr(s, park{}, errcode.NotCoordinator) })
		synctest.Wait()
		s.Stop()
		all.Wait()
		w.store.BeforeAppend(nil)
		w.want(w.serving(2), get{}, "a")
	})
}

func TestWhoeverGaveUpIsNotServed(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		if _, err := s.Ask(ctx, set{"a"}); !errcode.Is(err, errcode.Canceled) {
			w.Errorf("got %v", err)
		}
		w.want(s, get{}, "")
	})
}

// TestAFullShardLetsNewcomersWait: 100 wait for an answer, and the next ones
// for their turn, until the deadline that they have.
func TestAFullShardLetsNewcomersWait(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { w.want(s, wake{time.Minute}, "woken") })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := s.Ask(ctx, get{}); !errcode.Is(err, errcode.RequestTimedOut) {
			w.Errorf("got %v", err)
		}
		all.Wait()
		w.want(s, get{}, "")
	})
}

func TestAStepThatFitsInNoAppendIsNotAnswered(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		w.want(s, set{"a"}, "a")
		w.wantErr(s, huge{2 << 20}, errcode.CoordinatorUnavailable)
		synctest.Wait()
		w.want(s, get{}, "a")
	})
}

// TestStepsThatDoNotFitInOneAppendGoIntoSeveral: each whole.
func TestStepsThatDoNotFitInOneAppendGoIntoSeveral(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		hold := make(chan struct{})
		w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
			<-hold
			return nil
		})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { w.want(s, huge{600 << 10}, "") })
			synctest.Wait()
		}
		close(hold)
		all.Wait()
	})
}

func TestTheMachineHearsOfViews(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.serving(1)
		w.meta.Create("t", 3)
		synctest.Wait()
		w.want(s, views{}, "1")
	})
}
