package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"moldau.dev/gateway/guard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a storage node and a coordinator that a test writes the answers of,
// and what they were asked, in order.
type world struct {
	storageclient.Storage
	node  func(p *storageclient.AppendPartition) storageclient.AppendResult
	coord func(p *coordinatorv1.TransactionPartition) error
	down  error // of the coordinator as a whole
	log   []string
}

func (w *world) Append(_ context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	line, resp := "append", &storageclient.AppendResponse{}
	for i := range req.Partitions {
		p := &req.Partitions[i]
		line += fmt.Sprintf(" %d", p.Index)
		if p.Guard != 0 {
			line += fmt.Sprintf("/%d", p.Guard)
		}
		if string(p.Batch) != "as sent" {
			line += " (changed)"
		}
		copy(p.Batch, "PATCHED")
		resp.Results = append(resp.Results, w.node(p))
	}
	w.log = append(w.log, line)
	return resp, nil
}

func (w *world) AddPartitions(_ context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	line, resp := map[bool]string{true: "verify", false: "add"}[req.GetVerifyOnly()], &coordinatorv1.AddPartitionsResponse{}
	for _, p := range req.GetPartitions() {
		line += fmt.Sprintf(" %d", p.GetPartition())
		e := &coordinatorv1.PartError{}
		if w.coord != nil {
			if err := w.coord(p); err != nil {
				e.Reason, e.Message = string(errcode.ReasonOf(err)), errcode.Of(err).Message
			}
		}
		resp.Errors = append(resp.Errors, e)
	}
	w.log = append(w.log, line)
	return resp, w.down
}

// leader asks for a guard where there is none, and then appends.
func leader(p *storageclient.AppendPartition) storageclient.AppendResult {
	if p.Guard == 0 {
		return storageclient.AppendResult{BaseOffset: -1, VerifyGuard: 70 + int64(p.Index)}
	}
	return storageclient.AppendResult{BaseOffset: int64(p.Index)}
}

// once fails the first n times, then is leader.
func once(n int, reason errcode.Reason) func(p *storageclient.AppendPartition) storageclient.AppendResult {
	return func(p *storageclient.AppendPartition) storageclient.AppendResult {
		if n--; n >= 0 {
			return storageclient.AppendResult{Err: errcode.New(reason, "not now")}
		}
		return leader(p)
	}
}

func (w *world) append(t *testing.T, version int32, partitions ...int32) []storageclient.AppendResult {
	t.Helper()
	req := &storageclient.AppendRequest{}
	for _, i := range partitions {
		req.Partitions = append(req.Partitions, storageclient.AppendPartition{
			PartitionID: storageclient.PartitionID{Topic: topicid.ID{1}, Index: i}, Batch: []byte("as sent"),
		})
	}
	txn := &guard.Transaction{ID: "app", ProducerID: 1, ProducerEpoch: 2, Version: version}
	resp, err := guard.New(w, clock.Real()).Append(t.Context(), w, txn, req)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range resp.Results {
		if r.VerifyGuard != 0 {
			t.Errorf("partition %d is left with a guard", partitions[i])
		}
	}
	return resp.Results
}

func (w *world) want(t *testing.T, lines ...string) {
	t.Helper()
	if !slices.Equal(w.log, lines) {
		t.Errorf("went %q, want %q", w.log, lines)
	}
}

func TestAGuardIsConfirmedAndTheBatchSentAgainAsItCame(t *testing.T) {
	for version, confirmed := range map[int32]string{1: "verify 0 3", 2: "add 0 3"} {
		w := &world{node: func(p *storageclient.AppendPartition) storageclient.AppendResult {
			if p.Index == 5 { // its transaction is open already
				return storageclient.AppendResult{BaseOffset: 5}
			}
			return leader(p)
		}}
		for i, r := range w.append(t, version, 0, 5, 3) {
			if want := []int64{0, 5, 3}[i]; r.Err != nil || r.BaseOffset != want {
				t.Errorf("got %+v, want offset %d", r, want)
			}
		}
		w.want(t, "append 0 5 3", confirmed, "append 0/70 3/73")
	}
}

func TestAPlainAppendAsksNobody(t *testing.T) {
	w := &world{node: func(*storageclient.AppendPartition) storageclient.AppendResult { return storageclient.AppendResult{} }}
	if _, err := guard.New(w, clock.Real()).Append(t.Context(), w, nil, &storageclient.AppendRequest{
		Partitions: []storageclient.AppendPartition{{Batch: []byte("as sent")}},
	}); err != nil {
		t.Fatal(err)
	}
	w.want(t, "append 0")
}

func TestWhatTheCoordinatorRefusesIsNotAppended(t *testing.T) {
	for refused, told := range map[errcode.Reason]errcode.Reason{
		errcode.TransactionAbortable: errcode.TransactionAbortable, errcode.InvalidProducerMapping: errcode.InvalidProducerMapping,
		errcode.ProducerFenced: errcode.InvalidProducerEpoch, "NOT_KNOWN_HERE": errcode.Internal,
	} {
		w := &world{node: leader, coord: func(p *coordinatorv1.TransactionPartition) error {
			if p.GetPartition() == 1 {
				return errcode.New(refused, "no")
			}
			return nil
		}}
		got := w.append(t, 2, 0, 1)
		if got[0].Err != nil || !errcode.Is(got[1].Err, told) {
			t.Errorf("%s: got %v and %v", refused, got[0].Err, got[1].Err)
		}
		w.want(t, "append 0 1", "add 0 1", "append 0/70")
	}
}

func TestTheTransactionBeforeMayCompleteFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at the partition
		w := &world{node: once(2, errcode.ConcurrentTransactions)}
		if got := w.append(t, 1, 0); got[0].Err != nil {
			t.Error(got[0].Err)
		}
		w.want(t, "append 0", "append 0", "append 0", "verify 0", "append 0/70")
	})
	synctest.Test(t, func(t *testing.T) { // at the coordinator
		n := 0
		w := &world{node: leader, coord: func(*coordinatorv1.TransactionPartition) error {
			if n++; n < 3 {
				return errcode.New(errcode.ConcurrentTransactions, "still")
			}
			return nil
		}}
		if got := w.append(t, 2, 0); got[0].Err != nil {
			t.Error(got[0].Err)
		}
		w.want(t, "append 0", "add 0", "append 0", "add 0", "append 0", "add 0", "append 0/70")
	})
}

// TestAMarkerThatTakesTheGuardAwayIsNoEndForTheNextTransaction: under version 2
// the batch's identity has one transaction, so it may ask anew; under version 1
// the guard may have been of the transaction that ended.
func TestAMarkerThatTakesTheGuardAwayIsNoEndForTheNextTransaction(t *testing.T) {
	for version, want := range map[int32]errcode.Reason{1: errcode.InvalidTransactionState, 2: ""} {
		synctest.Test(t, func(t *testing.T) {
			killed := false
			w := &world{node: func(p *storageclient.AppendPartition) storageclient.AppendResult {
				if p.Guard != 0 && !killed {
					killed = true
					return storageclient.AppendResult{Err: errcode.New(errcode.InvalidTransactionState, "it has ended")}
				}
				return leader(p)
			}}
			if got := w.append(t, version, 0); errcode.ReasonOf(got[0].Err) != want {
				t.Errorf("version %d: %v", version, got[0].Err)
			}
		})
	}
}

// TestUnknownIsNoYes (T8): nothing is appended with a guard while the
// coordinator does not answer, and what it says last is told.
func TestUnknownIsNoYes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{node: leader, down: errcode.New(errcode.CoordinatorUnavailable, "gone")}
		if got := w.append(t, 2, 0); !errcode.Is(got[0].Err, errcode.CoordinatorUnavailable) {
			t.Errorf("got %v", got[0].Err)
		}
		for _, line := range w.log {
			if line != "append 0" && line != "add 0" {
				t.Errorf("%s", line)
			}
		}
	})
}

func TestGuardsThatAlwaysDieAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := int64(0)
		w := &world{node: func(*storageclient.AppendPartition) storageclient.AppendResult {
			next++
			return storageclient.AppendResult{VerifyGuard: next}
		}}
		if got := w.append(t, 2, 0); !errcode.Is(got[0].Err, errcode.ConcurrentTransactions) {
			t.Errorf("got %v", got[0].Err)
		}
		if len(w.log) > 200 {
			t.Errorf("%d calls in a few seconds", len(w.log))
		}
	})
}

func TestACallerThatGoesEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{node: func(*storageclient.AppendPartition) storageclient.AppendResult {
			cancel()
			return storageclient.AppendResult{Err: errcode.New(errcode.ConcurrentTransactions, "still")}
		}}
		resp, err := guard.New(w, clock.Real()).Append(ctx, w, &guard.Transaction{Version: 2}, &storageclient.AppendRequest{
			Partitions: make([]storageclient.AppendPartition, 1),
		})
		if err != nil || !errcode.Is(resp.Results[0].Err, errcode.ConcurrentTransactions) || len(w.log) != 1 {
			t.Errorf("%v, %v after %q", resp, err, w.log)
		}
	})
}

func TestAnAppendWithoutAnAnswerIsTheCallersToRepeat(t *testing.T) {
	lost := errors.New("connection reset")
	_, err := guard.New(nil, clock.Real()).Append(t.Context(), failing{err: lost}, &guard.Transaction{Version: 2}, &storageclient.AppendRequest{
		Partitions: make([]storageclient.AppendPartition, 1),
	})
	if !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

type failing struct {
	storageclient.Storage
	err error
}

func (f failing) Append(context.Context, *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	return nil, f.err
}
