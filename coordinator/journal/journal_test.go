package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/journal/journaltest"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one journal's partition, in a bubble of its own.
type world struct {
	*testing.T
	meta  *journaltest.Metadata
	store *journaltest.Storage
}

// inBubble runs a test whose time passes when all wait.
func inBubble(t *testing.T, test func(w world)) {
	synctest.Test(t, func(t *testing.T) {
		test(world{t, journaltest.NewMetadata("__journal"), journaltest.NewStorage()})
	})
}

// open returns a journal and the keys of what it replayed.
func (w world) open(epoch int64) (*journal.Journal, []string, error) {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	var seen []string
	j, err := journal.Open(ctx, journal.Config{Topic: "__journal", OwnerEpoch: epoch, CallTimeout: 5 * time.Second}, journal.Deps{
		Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: w.store,
	}, func(r journal.Record) error {
		_, parts, err := journal.ParseKey(r.Key)
		seen = append(seen, parts...)
		return err
	})
	return j, seen, err
}

func (w world) mustOpen(epoch int64, want ...string) *journal.Journal {
	w.Helper()
	j, got, err := w.open(epoch)
	if err != nil {
		w.Fatal(err)
	}
	if !slices.Equal(got, want) {
		w.Fatalf("replayed %v, want %v", got, want)
	}
	return j
}

func (w world) append(j *journal.Journal, keys ...string) error {
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
	defer cancel()
	var records []journal.Record
	for _, k := range keys {
		records = append(records, journal.Record{Key: journal.Key(1, k), Value: []byte{1}})
	}
	return j.Append(ctx, records)
}

func (w world) mustAppend(j *journal.Journal, keys ...string) {
	w.Helper()
	if err := w.append(j, keys...); err != nil {
		w.Fatal(err)
	}
}

func TestWhatWasAppendedIsReplayedInOrder(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		w.mustAppend(j, "a", "b")
		w.mustAppend(j, "c")
		w.mustOpen(1, "a", "b", "c")
		w.mustOpen(7, "a", "b", "c")
	})
}

func TestAZombieCannotAppend(t *testing.T) {
	for name, forget := range map[string]bool{"storage knows the owner": false, "storage has forgotten the owner": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				zombie := w.mustOpen(1)
				w.mustAppend(zombie, "a")
				owner := w.mustOpen(2, "a")
				if forget {
					w.store.ForgetOwners()
				}
				if err := w.append(zombie, "late"); err == nil || errors.Is(err, journal.ErrFenced) == forget {
					w.Errorf("the zombie's append: %v", err)
				}
				w.mustAppend(owner, "b")
				if forget {
					w.store.ForgetOwners()
				}
				if _, _, err := w.open(1); !errors.Is(err, journal.ErrFenced) {
					w.Errorf("the zombie opened it again: %v", err)
				}
			})
		})
	}
}

func TestAnAppendIsRepeatedUntilItIsThereOnce(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		for _, reason := range []errcode.Reason{errcode.NotLeader, errcode.NotEnoughReplicas, errcode.NodeUnavailable, errcode.UnknownTopicID} {
			left := 3
			w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
				if left--; left >= 0 {
					return errcode.New(reason, "not now")
				}
				return nil
			})
			w.mustAppend(j, string(reason))
		}
		w.store.BeforeAppend(nil)
		w.mustOpen(2, "NOT_LEADER", "NOT_ENOUGH_REPLICAS", "NODE_UNAVAILABLE", "UNKNOWN_TOPIC_ID")
	})
}

// TestAnAppendWhoseAnswerWasLostIsFoundInTheLog: a disk that stalls for longer
// than a call may take must not cost the machine above.
func TestAnAppendWhoseAnswerWasLostIsFoundInTheLog(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		w.store.AfterAppend(func(*storageclient.AppendPartition) error {
			return errcode.New(errcode.RequestTimedOut, "connection reset")
		})
		w.mustAppend(j, "a", "b")
		w.store.AfterAppend(nil)
		w.mustAppend(j, "c")
		w.mustOpen(1, "a", "b", "c")
	})
}

// TestWhatAnotherWroteIsNotTakenForOnesOwn: the log ends elsewhere because of a
// new owner, of whom storage knows nothing any more.
func TestWhatAnotherWroteIsNotTakenForOnesOwn(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		w.mustOpen(2)
		w.store.ForgetOwners()
		w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
			w.store.BeforeAppend(nil)
			return errcode.New(errcode.RequestTimedOut, "on its way")
		})
		if err := w.append(j, "a"); err == nil {
			w.Error("the append of an owner before succeeded")
		}
		w.mustOpen(3)
	})
}

// TestALostAnswerIsNeverGuessed: the batch is in the log, but nothing can be
// read, so that the owner must read the journal anew.
func TestALostAnswerIsNeverGuessed(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		w.store.AfterAppend(func(*storageclient.AppendPartition) error {
			return errcode.New(errcode.NodeUnavailable, "connection reset")
		})
		w.store.BeforeFetch(func(*storageclient.FetchPartition) error {
			return errcode.New(errcode.NodeUnavailable, "connection reset")
		})
		if err := w.append(j, "a"); err == nil {
			w.Fatal("an append without an answer succeeded")
		}
		w.store.AfterAppend(nil)
		w.store.BeforeFetch(nil)
		w.mustAppend(w.mustOpen(1, "a"), "b")
		w.mustOpen(1, "a", "b")
	})
}

// TestADelayedAppendCannotLandAfterTheJournalWasReadAnew: the append times out,
// the owner opens the journal again, and only then does the first one arrive.
func TestADelayedAppendCannotLandAfterTheJournalWasReadAnew(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		var delayed storageclient.AppendPartition
		w.store.BeforeAppend(func(p *storageclient.AppendPartition) error {
			delayed = *p
			delayed.Batch = slices.Clone(p.Batch)
			return errcode.New(errcode.RequestTimedOut, "on its way")
		})
		if err := w.append(j, "late"); err == nil {
			w.Fatal("an append without an answer succeeded")
		}
		w.store.BeforeAppend(nil)
		w.mustOpen(1)
		resp, err := w.store.Append(w.Context(), &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{delayed}})
		if err != nil || !errcode.Is(resp.Results[0].Err, errcode.OffsetMismatch) {
			w.Errorf("it landed: %v, %v", resp, err)
		}
	})
}

func TestACallThatHangsIsGivenUpAndRepeated(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		hung := false
		w.store.BeforeAppend(func(*storageclient.AppendPartition) error {
			if !hung {
				hung = true
				time.Sleep(6 * time.Second) // of the bubble
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		if err := j.Append(ctx, []journal.Record{{Key: journal.Key(1, "a")}}); err != nil {
			w.Errorf("got %v", err)
		}
	})
}

func TestRecordsThatAreTooLargeAreRefusedAndTheJournalGoesOn(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		err := j.Append(w.Context(), []journal.Record{{Key: journal.Key(1), Value: make([]byte, j.MaxBytes())}})
		if !errors.Is(err, journal.ErrTooLarge) {
			w.Errorf("got %v", err)
		}
		w.mustAppend(j, "a")
		w.meta.Change(func(v *metadataclient.View) {
			topic := *v.Topics["__journal"]
			topic.Configs = map[string]string{"max.message.bytes": "2000000"}
			v.Topics["__journal"] = &topic
		})
		if err := j.Append(w.Context(), []journal.Record{{Key: journal.Key(1, "b"), Value: make([]byte, 1_900_000)}}); err != nil {
			w.Errorf("the topic allows it: %v", err)
		}
		w.mustOpen(1, "a", "b")
	})
}

func TestAJournalWaitsForItsTopic(t *testing.T) {
	inBubble(t, func(w world) {
		w.meta.Change(func(v *metadataclient.View) { clear(v.Topics) })
		time.AfterFunc(10*time.Second, func() { w.meta.Create("__journal", 1) })
		w.mustOpen(1)
	})
}

// TestAJournalFromTheFutureIsNotRead: whoever drops what it does not understand
// loses it for good.
func TestAJournalFromTheFutureIsNotRead(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		if err := j.Append(w.Context(), []journal.Record{{Key: []byte{2, 1}, Value: []byte{1}}}); err != nil {
			w.Fatal(err)
		}
		if _, _, err := w.open(1); err == nil {
			w.Error("it was read")
		}
	})
}

func TestWhatReplayRefusesEndsTheOpening(t *testing.T) {
	inBubble(t, func(w world) {
		w.mustAppend(w.mustOpen(1), "a")
		refused := errors.New("not understood")
		_, err := journal.Open(w.Context(), journal.Config{Topic: "__journal", OwnerEpoch: 1, CallTimeout: time.Second}, journal.Deps{
			Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: w.store,
		}, func(journal.Record) error { return refused })
		if !errors.Is(err, refused) {
			w.Errorf("got %v", err)
		}
	})
}

func TestReplayGoesOnAfterFailuresWithoutReadingTwice(t *testing.T) {
	inBubble(t, func(w world) {
		j := w.mustOpen(1)
		for _, k := range []string{"a", "b", "c"} {
			w.mustAppend(j, k)
		}
		n := 0
		w.store.BeforeFetch(func(*storageclient.FetchPartition) error {
			if n++; n%2 == 0 {
				return errcode.New(errcode.NotLeader, "moved")
			}
			return nil
		})
		w.mustOpen(2, "a", "b", "c")
	})
}
