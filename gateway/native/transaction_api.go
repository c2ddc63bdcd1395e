package native

import (
	"context"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

const (
	maxTransactionalIDBytes   = 4096
	defaultTransactionTimeout = time.Minute
	// nativeTransactions is the protocol of this API: every end raises the epoch,
	// and appending adds partitions (KIP-890).
	nativeTransactions = 2
)

// BeginTransaction makes the caller the one producer of a transactional id.
func (s *Server) BeginTransaction(ctx context.Context, req *moldauv1.BeginTransactionRequest) (*moldauv1.BeginTransactionResponse, error) {
	id := req.GetTransactionalId()
	if err := checkTransactionalID(id, "transactional_id"); err != nil {
		return nil, err
	}
	timeout := defaultTransactionTimeout
	if t := req.GetTimeout(); t != nil {
		timeout = t.AsDuration()
		if t.CheckValid() != nil || timeout < time.Millisecond || timeout > math.MaxInt32*time.Millisecond {
			return nil, errcode.New(errcode.InvalidTransactionTimeout, "the timeout is not within 1 ms to %s", math.MaxInt32*time.Millisecond).WithField("timeout")
		}
	}
	p, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.InitProducerResponse, error) {
		return s.coordinators.InitProducer(ctx, &coordinatorv1.InitProducerRequest{
			TransactionalId: id, TransactionTimeoutMs: int32(timeout.Milliseconds()), ProducerId: -1, ProducerEpoch: -1,
		})
	})
	if errcode.Is(err, errcode.InvalidTransactionTimeout) {
		err = errcode.Of(err).WithField("timeout")
	}
	if err != nil {
		return nil, err
	}
	return &moldauv1.BeginTransactionResponse{
		Transaction: &moldauv1.TransactionHandle{TransactionalId: id, ProducerId: p.GetProducerId(), ProducerEpoch: p.GetProducerEpoch()},
		Origin:      s.origin(),
	}, nil
}

// CommitTransaction decides that a transaction commits.
func (s *Server) CommitTransaction(ctx context.Context, req *moldauv1.CommitTransactionRequest) (*moldauv1.CommitTransactionResponse, error) {
	next, err := s.endTransaction(ctx, req.GetTransaction(), true)
	if err != nil {
		return nil, err
	}
	return &moldauv1.CommitTransactionResponse{Next: next, Origin: s.origin()}, nil
}

// AbortTransaction decides that a transaction aborts.
func (s *Server) AbortTransaction(ctx context.Context, req *moldauv1.AbortTransactionRequest) (*moldauv1.AbortTransactionResponse, error) {
	next, err := s.endTransaction(ctx, req.GetTransaction(), false)
	if err != nil {
		return nil, err
	}
	return &moldauv1.AbortTransactionResponse{Next: next, Origin: s.origin()}, nil
}

// endTransaction ends a transaction, once however often it is asked (T4).
func (s *Server) endTransaction(ctx context.Context, h *moldauv1.TransactionHandle, commit bool) (*moldauv1.TransactionHandle, error) {
	if err := checkHandle(h); err != nil {
		return nil, err
	}
	p, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.EndTransactionResponse, error) {
		return s.coordinators.EndTransaction(ctx, &coordinatorv1.EndTransactionRequest{
			TransactionalId: h.GetTransactionalId(), ProducerId: h.GetProducerId(), ProducerEpoch: h.GetProducerEpoch(),
			Commit: commit, TransactionVersion: nativeTransactions, AllowEmpty: true,
		})
	})
	if err != nil {
		return nil, s.withOutcome(ctx, h, err)
	}
	return &moldauv1.TransactionHandle{TransactionalId: h.GetTransactionalId(), ProducerId: p.GetProducerId(), ProducerEpoch: p.GetProducerEpoch()}, nil
}

// withOutcome adds to the refusal of an end how the transaction did end, where
// that can be found out.
func (s *Server) withOutcome(ctx context.Context, h *moldauv1.TransactionHandle, err error) error {
	e := errcode.Of(err).WithField("transaction")
	if e.Reason != errcode.ProducerFenced && e.Reason != errcode.InvalidTransactionState {
		return e
	}
	t, unknown := s.describeTransaction(ctx, h.GetTransactionalId())
	if unknown != nil || outcomeOf(t, h.GetProducerId(), h.GetProducerEpoch()) < moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED {
		return e
	}
	ended := t.GetEnded()
	e = e.With("outcome", lastWord(ended.GetOutcome().String())).With("ended_by", lastWord(ended.GetEndedBy().String()))
	if ended.GetEndedBy() == moldauv1.TransactionEnder_TRANSACTION_ENDER_TIMEOUT {
		e = e.WithHint("The transaction was open for longer than its timeout and is aborted: begin another one.")
	}
	return e
}

// lastWord is the name of an enum's value in small letters, without its type.
func lastWord(value string) string {
	return strings.ToLower(value[strings.LastIndex(value, "_")+1:])
}

// ForceAbortTransaction aborts what is open under a transactional id.
func (s *Server) ForceAbortTransaction(ctx context.Context, req *moldauv1.ForceAbortTransactionRequest) (*moldauv1.ForceAbortTransactionResponse, error) {
	if err := checkTransactionalID(req.GetTransactionalId(), "transactional_id"); err != nil {
		return nil, err
	}
	_, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.EndTransactionResponse, error) {
		return s.coordinators.EndTransaction(ctx, &coordinatorv1.EndTransactionRequest{TransactionalId: req.GetTransactionalId(), Force: true})
	})
	if err != nil {
		return nil, errcode.Of(err).WithField("transactional_id")
	}
	return &moldauv1.ForceAbortTransactionResponse{Origin: s.origin()}, nil
}

// GetTransaction shows a transactional id, and how the transaction of a handle
// ended.
func (s *Server) GetTransaction(ctx context.Context, req *moldauv1.GetTransactionRequest) (*moldauv1.GetTransactionResponse, error) {
	if err := checkTransactionalID(req.GetTransactionalId(), "transactional_id"); err != nil {
		return nil, err
	}
	if (req.ProducerId == nil) != (req.ProducerEpoch == nil) {
		return nil, invalid("producer_epoch", "producer_id and producer_epoch go together")
	}
	t, err := s.describeTransaction(ctx, req.GetTransactionalId())
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.GetTransactionResponse{Transaction: t, Origin: s.origin()}
	if req.ProducerId != nil {
		resp.Outcome = outcomeOf(t, req.GetProducerId(), req.GetProducerEpoch())
	}
	return resp, nil
}

// outcomeOf tells how the transaction of one producer ended.
func outcomeOf(t *moldauv1.Transaction, producerID int64, epoch int32) moldauv1.TransactionOutcome {
	ended := t.GetEnded()
	holds := t.GetProducerId() == producerID && t.GetProducerEpoch() == epoch
	switch {
	case holds && t.GetState() == moldauv1.TransactionState_TRANSACTION_STATE_ONGOING: // of Kafka's version 1, one identity has many
		return moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN
	case ended != nil && ended.GetProducerId() == producerID && ended.GetProducerEpoch() == epoch:
		return ended.GetOutcome()
	case holds:
		return moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_OPEN
	default:
		return moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_UNSPECIFIED
	}
}

func (s *Server) describeTransaction(ctx context.Context, id string) (*moldauv1.Transaction, error) {
	t, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.Transaction, error) {
		resp, err := s.coordinators.DescribeTransactions(ctx, &coordinatorv1.DescribeTransactionsRequest{TransactionalIds: []string{id}})
		if err != nil {
			return nil, err
		}
		if len(resp.GetTransactions()) != 1 {
			return nil, errcode.New(errcode.Internal, "a coordinator described %d transactions, 1 was asked", len(resp.GetTransactions()))
		}
		t := resp.Transactions[0]
		return t, partError(t.GetError())
	})
	if err != nil {
		return nil, errcode.Of(err).WithField("transactional_id")
	}
	return showTransaction(t), nil
}

// partError is the error of one part of a coordinator's answer; nil where the
// part is well.
func partError(e *coordinatorv1.PartError) error {
	if e.GetReason() == "" {
		return nil
	}
	reason, ok := errcode.ParseReason(e.GetReason())
	if !ok {
		reason = errcode.Internal
	}
	return errcode.New(reason, "%s", e.GetMessage())
}

var transactionStates = map[string]moldauv1.TransactionState{
	"Empty":          moldauv1.TransactionState_TRANSACTION_STATE_EMPTY,
	"Ongoing":        moldauv1.TransactionState_TRANSACTION_STATE_ONGOING,
	"PrepareCommit":  moldauv1.TransactionState_TRANSACTION_STATE_PREPARE_COMMIT,
	"PrepareAbort":   moldauv1.TransactionState_TRANSACTION_STATE_PREPARE_ABORT,
	"CompleteCommit": moldauv1.TransactionState_TRANSACTION_STATE_COMPLETE_COMMIT,
	"CompleteAbort":  moldauv1.TransactionState_TRANSACTION_STATE_COMPLETE_ABORT,
}

func showTransaction(t *coordinatorv1.Transaction) *moldauv1.Transaction {
	out := &moldauv1.Transaction{
		TransactionalId: t.GetTransactionalId(), ProducerId: t.GetProducerId(), ProducerEpoch: t.GetProducerEpoch(), State: transactionStates[t.GetState()],
		Timeout: durationpb.New(time.Duration(t.GetTimeoutMs()) * time.Millisecond), UpdateTime: timestamppb.New(timeOf(t.GetUpdateTimeMs())),
	}
	if t.GetStartTimeMs() >= 0 {
		out.StartTime = timestamppb.New(timeOf(t.GetStartTimeMs()))
	}
	for _, p := range t.GetPartitions() {
		out.Partitions = append(out.Partitions, &moldauv1.TransactionPartition{Topic: p.GetTopic(), Partition: p.GetPartition()})
	}
	if e := t.GetEnded(); e != nil {
		out.Ended = &moldauv1.EndedTransaction{
			ProducerId: e.GetProducer().GetProducerId(), ProducerEpoch: e.GetProducer().GetProducerEpoch(),
			Outcome: moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_ABORTED, EndedBy: moldauv1.TransactionEnder(e.GetBy()),
		}
		if e.GetCommitted() {
			out.Ended.Outcome = moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_COMMITTED
		}
	}
	return out
}

func checkTransactionalID(id, field string) error {
	switch {
	case id == "":
		return invalid(field, "a transactional id is needed")
	case len(id) > maxTransactionalIDBytes:
		return invalid(field, "%d bytes, at most %d are allowed", len(id), maxTransactionalIDBytes)
	case !utf8.ValidString(id):
		return invalid(field, "not UTF-8")
	}
	return nil
}

func checkHandle(h *moldauv1.TransactionHandle) error {
	if h == nil {
		return invalid("transaction", "the handle of a transaction is needed").(*errcode.Error).WithHint("BeginTransaction gives one.")
	}
	if err := checkTransactionalID(h.GetTransactionalId(), "transaction.transactional_id"); err != nil {
		return err
	}
	switch {
	case h.GetProducerId() < 0:
		return invalid("transaction.producer_id", "%d is negative", h.GetProducerId())
	case h.GetProducerEpoch() < 0 || h.GetProducerEpoch() > math.MaxInt16:
		return invalid("transaction.producer_epoch", "%d is not within 0 to %d", h.GetProducerEpoch(), math.MaxInt16)
	}
	return nil
}
