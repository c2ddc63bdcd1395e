package native_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"moldau.dev/coordinator/coordinatorclient/coordinatortest"
	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/native"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// transactional is a server whose one node and coordinators a test writes the
// answers of.
type transactional struct {
	*testing.T
	*native.Server
	node *txnNode
	c    coordinator
}

// coordinator answers as a test says; what it does not say is UNIMPLEMENTED.
type coordinator struct {
	coordinatortest.Unimplemented
	asked []string

	init     func(*coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error)
	end      func(*coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error)
	describe func(id string) *coordinatorv1.Transaction
	list     func(*coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error)
	commit   func(string, []*coordinatorv1.Offset) ([]*coordinatorv1.PartError, error)
	fetch    func(*coordinatorv1.FetchGroupOffsets) (*coordinatorv1.GroupOffsets, error)
}

func (c *coordinator) InitProducer(_ context.Context, req *coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
	c.asked = append(c.asked, fmt.Sprintf("init %s %dms", req.GetTransactionalId(), req.GetTransactionTimeoutMs()))
	return c.init(req)
}

func (c *coordinator) EndTransaction(_ context.Context, req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
	c.asked = append(c.asked, fmt.Sprintf("end %s %d/%d commit=%v force=%v", req.GetTransactionalId(), req.GetProducerId(), req.GetProducerEpoch(), req.GetCommit(), req.GetForce()))
	return c.end(req)
}

func (c *coordinator) DescribeTransactions(_ context.Context, req *coordinatorv1.DescribeTransactionsRequest) (*coordinatorv1.DescribeTransactionsResponse, error) {
	return &coordinatorv1.DescribeTransactionsResponse{Transactions: []*coordinatorv1.Transaction{c.describe(req.GetTransactionalIds()[0])}}, nil
}

func (c *coordinator) ListTransactions(_ context.Context, req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
	return c.list(req)
}

func (c *coordinator) AddPartitions(_ context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	resp := &coordinatorv1.AddPartitionsResponse{}
	for _, p := range req.GetPartitions() {
		c.asked = append(c.asked, fmt.Sprintf("add %s %d/%d partition %d", req.GetTransactionalId(), req.GetProducerId(), req.GetProducerEpoch(), p.GetPartition()))
		resp.Errors = append(resp.Errors, &coordinatorv1.PartError{})
	}
	return resp, nil
}

func (c *coordinator) CommitOffsets(_ context.Context, req *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	errs, err := c.commit(fmt.Sprintf("commit %s as %q in %d", req.GetGroupId(), req.GetMemberId(), req.GetGeneration()), req.GetOffsets())
	return &coordinatorv1.CommitOffsetsResponse{Errors: errs}, err
}

func (c *coordinator) CommitTransactionOffsets(_ context.Context, req *coordinatorv1.CommitTransactionOffsetsRequest) (*coordinatorv1.CommitTransactionOffsetsResponse, error) {
	errs, err := c.commit(fmt.Sprintf("commit %s of %s %d/%d implicit=%v", req.GetGroupId(), req.GetTransactionalId(), req.GetProducerId(), req.GetProducerEpoch(), req.GetImplicitAdd()), req.GetOffsets())
	return &coordinatorv1.CommitTransactionOffsetsResponse{Errors: errs}, err
}

func (c *coordinator) FetchOffsets(_ context.Context, req *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	g, err := c.fetch(req.GetGroups()[0])
	return &coordinatorv1.FetchOffsetsResponse{Groups: []*coordinatorv1.GroupOffsets{g}}, err
}

// txnNode leads every partition: it asks for a guard, keeps sequences, and
// notes what it appends.
type txnNode struct {
	storageclient.Storage

	mu       sync.Mutex
	next     map[string]int32 // sequence by partition, producer and epoch
	last     map[string]int32 // first sequence of the last batch
	appended []string
	refuse   func() error // may refuse a batch
	deny     func() error // may answer that a batch is in the log, and not known to stay
	after    func() error // may lose its answer
}

func (n *txnNode) Append(_ context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	resp := &storageclient.AppendResponse{}
	for i := range req.Partitions {
		resp.Results = append(resp.Results, n.append(&req.Partitions[i]))
	}
	if n.after != nil {
		if err := n.after(); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func (n *txnNode) append(p *storageclient.AppendPartition) storageclient.AppendResult {
	h, err := record.Verify(p.Batch)
	if err != nil || !h.Transactional() || p.TransactionVersion != 2 {
		return storageclient.AppendResult{Err: errcode.New(errcode.Internal, "not a batch of a transaction: %v", err)}
	}
	if n.refuse != nil {
		if err := n.refuse(); err != nil {
			return storageclient.AppendResult{Err: err}
		}
	}
	key := fmt.Sprintf("%d/%d at %d", h.ProducerID, h.ProducerEpoch, p.Index)
	next, open := n.next[key]
	switch {
	case !open && p.Guard == 0:
		return storageclient.AppendResult{VerifyGuard: 7, BaseOffset: -1}
	case open && h.BaseSequence == n.last[key] && h.LastSequence() == next-1:
		return storageclient.AppendResult{Duplicate: true}
	case h.BaseSequence != next:
		return storageclient.AppendResult{Err: errcode.New(errcode.OutOfOrderSequence, "%d is next", next).With("expected_sequence", next)}
	}
	var values []string
	if err := record.ForEach(p.Batch, record.DefaultLimits(), func(r *record.Record) error {
		values = append(values, string(r.Value))
		return nil
	}); err != nil {
		return storageclient.AppendResult{Err: err}
	}
	n.last[key], n.next[key] = h.BaseSequence, h.LastSequence()+1
	n.appended = append(n.appended, fmt.Sprintf("%s: %s", key, strings.Join(values, " ")))
	if n.deny != nil {
		if err := n.deny(); err != nil {
			return storageclient.AppendResult{Err: err, BaseOffset: -1}
		}
	}
	return storageclient.AppendResult{BaseOffset: int64(h.BaseSequence)}
}

func (n *txnNode) DescribeProducers(_ context.Context, ids []storageclient.PartitionID) ([]storageclient.PartitionProducers, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := storageclient.PartitionProducers{}
	for key, next := range n.next {
		var p storageclient.ProducerState
		var index int32
		if _, err := fmt.Sscanf(key, "%d/%d at %d", &p.ProducerID, &p.ProducerEpoch, &index); err == nil && index == ids[0].Index {
			p.LastSequence = next - 1
			known.Producers = append(known.Producers, p)
		}
	}
	return []storageclient.PartitionProducers{known}, nil
}

// inTransactions runs a test against topic "t" of two partitions, in a bubble.
func inTransactions(t *testing.T, test func(x *transactional)) {
	synctest.Test(t, func(t *testing.T) {
		meta := gatewaytest.NewMetadata()
		if _, err := meta.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{Name: "t", PartitionCount: 2}); err != nil {
			t.Fatal(err)
		}
		x := &transactional{T: t, node: &txnNode{next: map[string]int32{}, last: map[string]int32{}}}
		var err error
		x.Server, err = native.NewServer(native.Config{
			HeartbeatInterval: time.Second, ProduceTimeout: 10 * time.Second, MaxInFlightBytes: 64 << 20, StreamInFlightBytes: 4 << 20,
			MaxRequestBytes: 16 << 20, MaxStreamPartitions: 100,
		}, native.Deps{
			Clock: clock.Real(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metadata: meta,
			Nodes: gatewaytest.NewNodes(x.node), Coordinators: &x.c,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		test(x)
	})
}

func handle(epoch int32) *moldauv1.TransactionHandle {
	return &moldauv1.TransactionHandle{TransactionalId: "app", ProducerId: 5, ProducerEpoch: epoch}
}

// call bounds a call, as every door does.
func (x *transactional) call() context.Context {
	ctx, cancel := context.WithTimeout(x.Context(), 20*time.Second)
	x.Cleanup(cancel)
	return ctx
}

func (x *transactional) produce(h *moldauv1.TransactionHandle, partition int32, values ...string) *moldauv1.ProduceResult {
	x.Helper()
	req := &moldauv1.ProduceRequest{Topic: "t", Partition: &partition, Transaction: h}
	for _, v := range values {
		req.Records = append(req.Records, &moldauv1.Record{Value: []byte(v)})
	}
	resp, err := x.Produce(x.call(), req)
	if err != nil {
		x.Fatal(err)
	}
	return resp.GetResults()[0]
}

func (x *transactional) wantAppended(lines ...string) {
	x.Helper()
	if !slices.Equal(x.node.appended, lines) {
		x.Errorf("appended:\n%s\nwant:\n%s", strings.Join(x.node.appended, "\n"), strings.Join(lines, "\n"))
	}
}

func (x *transactional) well(r *moldauv1.ProduceResult) {
	x.Helper()
	if r.GetError() != nil {
		x.Errorf("got %v", r.GetError())
	}
}

func TestRecordsOfATransactionFollowEachOther(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		x.well(x.produce(handle(0), 0, "a", "b"))
		x.well(x.produce(handle(0), 0, "c"))
		x.well(x.produce(handle(0), 1, "d"))
		x.well(x.produce(handle(1), 0, "e"))
		x.wantAppended("5/0 at 0: a b", "5/0 at 0: c", "5/0 at 1: d", "5/1 at 0: e")
		if want := []string{"add app 5/0 partition 0", "add app 5/0 partition 1", "add app 5/1 partition 0"}; !slices.Equal(x.c.asked, want) {
			x.Errorf("asked %q, want %q", x.c.asked, want)
		}
	})
}

// TestAnotherGatewayMayHaveGoneBefore: this one guesses which sequence comes
// next, and what looks like its own batch sent again is another's.
func TestAnotherGatewayMayHaveGoneBefore(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		x.node.next["5/0 at 0"], x.node.last["5/0 at 0"] = 1, 0 // one record: the same sequence as the next guess
		x.well(x.produce(handle(0), 0, "a"))
		x.node.next["5/0 at 0"], x.node.last["5/0 at 0"] = 7, 4
		x.well(x.produce(handle(0), 0, "b", "c"))
		x.wantAppended("5/0 at 0: a", "5/0 at 0: b c")
		if x.node.next["5/0 at 0"] != 9 {
			x.Errorf("the next sequence is %d", x.node.next["5/0 at 0"])
		}
	})
}

func TestALeaderThatMovedIsAskedAgain(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		left := 3
		x.node.refuse = func() error {
			if left--; left >= 0 {
				return errcode.New(errcode.NotLeader, "not any more")
			}
			return nil
		}
		x.well(x.produce(handle(0), 0, "a"))
		x.wantAppended("5/0 at 0: a")
	})
}

// TestWhatIsNotKnownIsFitToBeAborted: without a sequence of the client's own
// nobody can tell its batch from another's.
func TestWhatIsNotKnownIsFitToBeAborted(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		n := 0
		x.node.after = func() error {
			if n++; n == 2 { // the first answer is a guard
				return errcode.New(errcode.NodeUnavailable, "connection reset")
			}
			return nil
		}
		if got := x.produce(handle(0), 0, "a").GetError(); got.GetReason() != string(errcode.TransactionAbortable) || got.GetRetryable() {
			x.Errorf("got %v", got)
		}
	})
}

// TestWhatIsInTheLogIsNotAppendedAgain: a leader that ends while it waits for
// others does not know what becomes of the batch. Its successor may have it.
func TestWhatIsInTheLogIsNotAppendedAgain(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		denied := false
		x.node.deny = func() error {
			if denied {
				return nil
			}
			denied = true
			return errcode.New(errcode.NotEnoughReplicasAfterAppend, "another leads now")
		}
		if got := x.produce(handle(0), 0, "a").GetError(); got.GetReason() != string(errcode.TransactionAbortable) {
			x.Errorf("got %v", got)
		}
		x.wantAppended("5/0 at 0: a")
	})
}

func TestAClientsOwnSequenceMakesARequestSafeToRepeat(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		n := 0
		x.node.after = func() error {
			if n++; n == 2 {
				return errcode.New(errcode.NodeUnavailable, "connection reset")
			}
			return nil
		}
		zero := int32(0)
		req := &moldauv1.ProduceRequest{
			Topic: "t", Partition: &zero, Transaction: handle(3), Records: []*moldauv1.Record{{Value: []byte("a")}},
			Producer: &moldauv1.ProducerSequence{ProducerId: 5, ProducerEpoch: 3},
		}
		for range 2 {
			resp, err := x.Produce(x.call(), req)
			if err != nil || resp.GetResults()[0].GetError() != nil || !resp.GetResults()[0].GetDuplicate() {
				x.Errorf("got %v, %v", resp, err)
			}
		}
		x.wantAppended("5/3 at 0: a")
	})
}

func TestAClientsOwnBatchGoesAsItIs(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		b := record.NewBuilder(record.BuilderOptions{ProducerID: 5, ProducerEpoch: 1, Transactional: true})
		b.Append(&record.Record{Value: []byte("a")})
		batch, err := b.Build(nil)
		if err != nil {
			x.Fatal(err)
		}
		zero := int32(0)
		req := &moldauv1.ProduceRequest{Topic: "t", Partition: &zero, Transaction: handle(1), RecordBatch: batch}
		resp, err := x.Produce(x.call(), req)
		if err != nil {
			x.Fatal(err)
		}
		x.well(resp.GetResults()[0])
		x.wantAppended("5/1 at 0: a")
		for name, bad := range map[string]*moldauv1.TransactionHandle{"no transaction": nil, "another's": handle(2)} {
			req.Transaction = bad
			if _, err := x.Produce(x.call(), req); !errcode.Is(err, errcode.InvalidRecord) {
				x.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestBadTransactionalProducesAreRefusedByField(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		zero := int32(0)
		for field, change := range map[string]func(*moldauv1.ProduceRequest){
			"acks":                         func(r *moldauv1.ProduceRequest) { r.Acks = moldauv1.Acks_ACKS_LEADER },
			"transaction.transactional_id": func(r *moldauv1.ProduceRequest) { r.Transaction.TransactionalId = "" },
			"transaction.producer_id":      func(r *moldauv1.ProduceRequest) { r.Transaction.ProducerId = -1 },
			"transaction.producer_epoch":   func(r *moldauv1.ProduceRequest) { r.Transaction.ProducerEpoch = 1 << 15 },
			"producer":                     func(r *moldauv1.ProduceRequest) { r.Producer = &moldauv1.ProducerSequence{ProducerId: 6} },
		} {
			req := &moldauv1.ProduceRequest{Topic: "t", Partition: &zero, Transaction: handle(0), Records: []*moldauv1.Record{{}}}
			change(req)
			if _, err := x.Produce(x.call(), req); errcode.Of(err) == nil || errcode.Of(err).Field != field {
				x.Errorf("%s: %v", field, err)
			}
		}
	})
}

func TestBeginWaitsForTheTransactionBefore(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		n := 0
		x.c.init = func(*coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
			if n++; n < 4 {
				return nil, errcode.New([]errcode.Reason{errcode.ConcurrentTransactions, errcode.CoordinatorLoading, errcode.CoordinatorUnavailable}[n-1], "wait")
			}
			return &coordinatorv1.InitProducerResponse{ProducerId: 5, ProducerEpoch: 2}, nil
		}
		resp, err := x.BeginTransaction(x.call(), &moldauv1.BeginTransactionRequest{TransactionalId: "app", Timeout: durationpb.New(90 * time.Second)})
		if err != nil || resp.GetTransaction().GetProducerId() != 5 || resp.GetTransaction().GetProducerEpoch() != 2 || n != 4 {
			x.Errorf("got %v, %v after %d", resp, err, n)
		}
		if x.c.asked[0] != "init app 90000ms" {
			x.Errorf("asked %q", x.c.asked)
		}
		// It gives up in time to say why.
		x.c.init = func(*coordinatorv1.InitProducerRequest) (*coordinatorv1.InitProducerResponse, error) {
			return nil, errcode.New(errcode.ConcurrentTransactions, "still")
		}
		if _, err := x.BeginTransaction(x.call(), &moldauv1.BeginTransactionRequest{TransactionalId: "app"}); !errcode.Is(err, errcode.ConcurrentTransactions) {
			x.Errorf("got %v", err)
		}
		for field, req := range map[string]*moldauv1.BeginTransactionRequest{
			"transactional_id": {}, "timeout": {TransactionalId: "app", Timeout: durationpb.New(0)},
		} {
			if _, err := x.BeginTransaction(x.call(), req); errcode.Of(err) == nil || errcode.Of(err).Field != field {
				x.Errorf("%s: %v", field, err)
			}
		}
	})
}

func TestAnEndIsAskedForUntilItIsAnswered(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		n := 0
		x.c.end = func(req *coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
			if n++; n%3 != 0 {
				return nil, errcode.New(errcode.CoordinatorUnavailable, "it may have acted")
			}
			if !req.GetForce() && (req.GetTransactionVersion() != 2 || !req.GetAllowEmpty()) {
				return nil, errcode.New(errcode.Internal, "got %v", req)
			}
			return &coordinatorv1.EndTransactionResponse{ProducerId: 5, ProducerEpoch: 1}, nil
		}
		committed, err := x.CommitTransaction(x.call(), &moldauv1.CommitTransactionRequest{Transaction: handle(0)})
		if err != nil || committed.GetNext().GetProducerEpoch() != 1 || committed.GetNext().GetTransactionalId() != "app" {
			x.Errorf("got %v, %v", committed, err)
		}
		aborted, err := x.AbortTransaction(x.call(), &moldauv1.AbortTransactionRequest{Transaction: handle(0)})
		if err != nil || aborted.GetNext().GetProducerEpoch() != 1 {
			x.Errorf("got %v, %v", aborted, err)
		}
		if _, err := x.ForceAbortTransaction(x.call(), &moldauv1.ForceAbortTransactionRequest{TransactionalId: "app"}); err != nil {
			x.Error(err)
		}
		if got := x.c.asked[n-1]; got != "end app 0/0 commit=false force=true" {
			x.Errorf("asked %s", got)
		}
		if _, err := x.CommitTransaction(x.call(), &moldauv1.CommitTransactionRequest{}); errcode.Of(err) == nil || errcode.Of(err).Field != "transaction" {
			x.Errorf("got %v", err)
		}
	})
}

// TestARefusedEndTellsHowItEnded.
func TestARefusedEndTellsHowItEnded(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		x.c.end = func(*coordinatorv1.EndTransactionRequest) (*coordinatorv1.EndTransactionResponse, error) {
			return nil, errcode.New(errcode.ProducerFenced, "gone")
		}
		x.c.describe = func(id string) *coordinatorv1.Transaction {
			return &coordinatorv1.Transaction{TransactionalId: id, ProducerId: 5, ProducerEpoch: 1, State: "CompleteAbort", Ended: &coordinatorv1.EndedTransaction{
				Producer: &coordinatorv1.ProducerIdentity{ProducerId: 5}, By: coordinatorv1.EndedBy_ENDED_BY_TIMEOUT,
			}}
		}
		_, err := x.CommitTransaction(x.call(), &moldauv1.CommitTransactionRequest{Transaction: handle(0)})
		if e := errcode.Of(err); e == nil || e.Metadata["outcome"] != "aborted" || e.Metadata["ended_by"] != "timeout" || !strings.Contains(e.Hint, "timeout") {
			x.Errorf("got %+v", e)
		}
		_, err = x.CommitTransaction(x.call(), &moldauv1.CommitTransactionRequest{Transaction: handle(9)})
		if e := errcode.Of(err); e == nil || e.Reason != errcode.ProducerFenced || e.Metadata["outcome"] != "" {
			x.Errorf("of another: %+v", e)
		}
	})
}

func TestTheOutcomeOfAHandleCanBeRead(t *testing.T) {
	ended := func(epoch int32, committed bool) *coordinatorv1.EndedTransaction {
		return &coordinatorv1.EndedTransaction{Producer: &coordinatorv1.ProducerIdentity{ProducerId: 5, ProducerEpoch: epoch}, Committed: committed, By: coordinatorv1.EndedBy_ENDED_BY_PRODUCER}
	}
	inTransactions(t, func(x *transactional) {
		for _, c := range []struct {
			state        string
			holder, asks int32
			ended        *coordinatorv1.EndedTransaction
			want         moldauv1.TransactionOutcome
		}{
			{"Empty", 0, 0, nil, moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN},
			{"Ongoing", 0, 0, nil, moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN},
			{"PrepareCommit", 1, 0, ended(0, true), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED},
			{"CompleteAbort", 1, 0, ended(0, false), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_ABORTED},
			{"CompleteAbort", 1, 1, ended(0, false), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN},
			{"Ongoing", 1, 0, ended(0, true), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED},
			{"Ongoing", 2, 0, ended(1, true), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_UNSPECIFIED},
			{"CompleteCommit", 0, 0, ended(0, true), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED}, // version 1
			{"Ongoing", 0, 0, ended(0, true), moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN},             // version 1
		} {
			x.c.describe = func(id string) *coordinatorv1.Transaction {
				return &coordinatorv1.Transaction{
					TransactionalId: id, ProducerId: 5, ProducerEpoch: c.holder, State: c.state, Ended: c.ended, StartTimeMs: -1,
					Partitions: []*coordinatorv1.TransactionPartition{{Topic: "t", Partition: 1}},
				}
			}
			pid := int64(5)
			resp, err := x.GetTransaction(x.call(), &moldauv1.GetTransactionRequest{TransactionalId: "app", ProducerId: &pid, ProducerEpoch: &c.asks})
			if err != nil || resp.GetOutcome() != c.want {
				x.Errorf("%+v: %v, %v", c, resp.GetOutcome(), err)
			}
			if got := resp.GetTransaction(); got.GetPartitions()[0].GetTopic() != "t" || got.GetStartTime() != nil || got.GetState() == 0 {
				x.Errorf("shows %v", got)
			}
		}
		x.c.describe = func(string) *coordinatorv1.Transaction {
			return &coordinatorv1.Transaction{Error: &coordinatorv1.PartError{Reason: string(errcode.UnknownTransaction), Message: "not known"}}
		}
		if _, err := x.GetTransaction(x.call(), &moldauv1.GetTransactionRequest{TransactionalId: "app"}); !errcode.Is(err, errcode.UnknownTransaction) {
			x.Errorf("got %v", err)
		}
		pid := int64(5)
		if _, err := x.GetTransaction(x.call(), &moldauv1.GetTransactionRequest{TransactionalId: "app", ProducerId: &pid}); errcode.Of(err).Field != "producer_epoch" {
			x.Errorf("got %v", err)
		}
	})
}

func TestTransactionsAreListedInPages(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		var asked *coordinatorv1.ListTransactionsRequest
		x.c.list = func(req *coordinatorv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsResponse, error) {
			asked = req
			resp := &coordinatorv1.ListTransactionsResponse{LoadingShards: []int32{3}}
			for _, id := range []string{"a", "b/1", "c"} {
				resp.Transactions = append(resp.Transactions, &coordinatorv1.Transaction{TransactionalId: id, State: "Ongoing", StartTimeMs: 1})
			}
			return resp, nil
		}
		var seen []string
		req := &moldauv1.ListTransactionsRequest{
			PageSize: 2, States: []moldauv1.TransactionState{moldauv1.TransactionState_TRANSACTION_STATE_ONGOING}, OlderThan: durationpb.New(time.Second),
		}
		for {
			resp, err := x.ListTransactions(x.call(), req)
			if err != nil || resp.GetMissingShardCount() != 1 {
				x.Fatalf("got %v, %v", resp, err)
			}
			for _, l := range resp.GetTransactions() {
				seen = append(seen, l.GetTransactionalId())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(seen, []string{"a", "b/1", "c"}) || !slices.Equal(asked.GetStates(), []string{"Ongoing"}) || asked.GetLongerThanMs() != 1000 {
			x.Errorf("saw %v, asked %v", seen, asked)
		}
		for field, bad := range map[string]*moldauv1.ListTransactionsRequest{
			"page_size": {PageSize: -1}, "page_token": {PageToken: "?"}, "states": {States: []moldauv1.TransactionState{99}},
			"older_than": {OlderThan: durationpb.New(-1)}, "id_pattern": {IdPattern: strings.Repeat("x", 2000)},
		} {
			if _, err := x.ListTransactions(x.call(), bad); errcode.Of(err) == nil || errcode.Of(err).Field != field {
				x.Errorf("%s: %v", field, err)
			}
		}
	})
}
