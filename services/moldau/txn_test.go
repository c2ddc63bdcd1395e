package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func TestTransactionsAreShown(t *testing.T) {
	now := time.Unix(1000, 0)
	open := &moldauv1.Transaction{
		TransactionalId: "app", ProducerId: 7, ProducerEpoch: 3, State: moldauv1.TransactionState_TRANSACTION_STATE_PREPARE_COMMIT,
		Timeout: durationpb.New(time.Minute), StartTime: timestamppb.New(now.Add(-90 * time.Second)),
		Partitions: []*moldauv1.TransactionPartition{{Topic: "river", Partition: 2}, {Topic: "rain"}},
		Ended: &moldauv1.EndedTransaction{
			Outcome: moldauv1.TransactionOutcome_TRANSACTION_OUTCOME_ABORTED, EndedBy: moldauv1.TransactionEnder_TRANSACTION_ENDER_TIMEOUT,
		},
	}
	idle := &moldauv1.Transaction{TransactionalId: "idle", State: moldauv1.TransactionState_TRANSACTION_STATE_EMPTY, Timeout: durationpb.New(time.Second)}
	for name, c := range map[string]struct {
		a    answer
		want string
	}{
		"list": {
			transactionsAnswer(&moldauv1.ListTransactionsResponse{Transactions: []*moldauv1.Transaction{open, idle}}, now),
			"ID\tSTATE\tAGE\tPRODUCER\tEPOCH\napp\tprepare-commit\t1m30s\t7\t3\nidle\tempty\t-\t0\t0\n",
		},
		"describe": {
			transactionAnswer(open, now),
			"ID\tSTATE\tAGE\tPRODUCER\tEPOCH\tTIMEOUT\tLAST ENDED\tPARTITIONS\napp\tprepare-commit\t1m30s\t7\t3\t1m0s\taborted by timeout\triver[2],rain[0]\n",
		},
	} {
		var out bytes.Buffer
		if err := (&outputFlag{format: "table"}).show(&out, c.a); err != nil || out.String() != c.want {
			t.Errorf("%s: %q, %v, want %q", name, out.String(), err, c.want)
		}
	}
}

func TestStatesOfTransactionsAreNamedBothWays(t *testing.T) {
	for _, name := range stateNames() {
		if state, err := parseState(name); err != nil || stateName(state) != name {
			t.Errorf("%s is read as %s, %v", name, state, err)
		}
	}
	for _, args := range [][]string{{"txn", "list", "--state", "unspecified"}, {"txn", "list", "--state", "open"}, {"txn", "describe"}, {"txn", "abort"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitUsage {
			t.Errorf("%v: code %d, %s", args, code, errs.String())
		}
	}
}
