package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

func (c *cli) txnCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "txn", Short: "Look at transactions, and abort those that hang"}
	cmd.AddCommand(c.txnList(), c.txnDescribe(), c.txnAbort())
	return cmd
}

const statePrefix = "TRANSACTION_STATE_"

// stateName is how people write a state: ongoing, prepare-commit.
func stateName(s moldauv1.TransactionState) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), statePrefix)), "_", "-")
}

func stateNames() (names []string) {
	for n := range int32(len(moldauv1.TransactionState_name)) {
		if n > 0 {
			names = append(names, stateName(moldauv1.TransactionState(n)))
		}
	}
	return names
}

func parseState(name string) (moldauv1.TransactionState, error) {
	n := moldauv1.TransactionState_value[statePrefix+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))]
	if n == 0 {
		return 0, usagef("--state %s: not one of %s", name, strings.Join(stateNames(), ", "))
	}
	return moldauv1.TransactionState(n), nil
}

func (c *cli) txnList() *cobra.Command {
	var out outputFlag
	var states []string
	var olderThan time.Duration
	req := &moldauv1.ListTransactionsRequest{}
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List transactional ids",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range states {
				state, err := parseState(name)
				if err != nil {
					return err
				}
				req.States = append(req.States, state)
			}
			if cmd.Flags().Changed("older-than") {
				req.OlderThan = durationpb.New(olderThan)
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				all, err := g.allTransactions(ctx, req)
				if err != nil {
					return err
				}
				if n := all.GetMissingShardCount(); n > 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "moldau: %s could not be asked: transactions are missing here\n", count(int64(n), "shard"))
				}
				return out.show(cmd.OutOrStdout(), transactionsAnswer(all, clock.Real().Now()))
			})
		},
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in these states: "+strings.Join(stateNames(), ", "))
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "only those whose newest transaction began longer ago")
	cmd.Flags().StringVar(&req.IdPattern, "match", "", "only ids that match this expression whole")
	complete(cmd, "state", stateNames()...)
	out.add(cmd)
	return cmd
}

func (g *stubs) allTransactions(ctx context.Context, req *moldauv1.ListTransactionsRequest) (*moldauv1.ListTransactionsResponse, error) {
	all := &moldauv1.ListTransactionsResponse{}
	req.PageSize = 1000
	for {
		page, err := g.transactions.ListTransactions(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Transactions = append(all.Transactions, page.GetTransactions()...)
		all.MissingShardCount, all.Origin = page.GetMissingShardCount(), page.GetOrigin()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func transactionsAnswer(list *moldauv1.ListTransactionsResponse, now time.Time) answer {
	a := answer{message: list, header: []string{"ID", "STATE", "AGE", "PRODUCER", "EPOCH", "TIMEOUT", "LAST ENDED"}, wide: 5}
	for _, t := range list.GetTransactions() {
		a.names = append(a.names, t.GetTransactionalId())
		a.rows = append(a.rows, transactionRow(t, now))
	}
	return a
}

func transactionRow(t *moldauv1.Transaction, now time.Time) []string {
	age := "-"
	if began := t.GetStartTime(); began != nil {
		age = now.Sub(began.AsTime()).Round(time.Second).String()
	}
	return []string{
		t.GetTransactionalId(), stateName(t.GetState()), age, strconv.FormatInt(t.GetProducerId(), 10), itoa(t.GetProducerEpoch()),
		t.GetTimeout().AsDuration().String(), endedText(t.GetEnded()),
	}
}

// endedText is such as `committed by producer`.
func endedText(e *moldauv1.EndedTransaction) string {
	if e == nil {
		return "-"
	}
	word := func(enum string) string { return strings.ToLower(enum[strings.LastIndex(enum, "_")+1:]) }
	return word(e.GetOutcome().String()) + " by " + word(e.GetEndedBy().String())
}

func (c *cli) txnDescribe() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:               "describe ID",
		Short:             "Show a transactional id and what is in its transaction",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTransactions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.transactions.GetTransaction(ctx, &moldauv1.GetTransactionRequest{TransactionalId: args[0]})
				if err != nil {
					return err
				}
				return out.show(cmd.OutOrStdout(), transactionAnswer(resp.GetTransaction(), clock.Real().Now()))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func transactionAnswer(t *moldauv1.Transaction, now time.Time) answer {
	a := transactionsAnswer(&moldauv1.ListTransactionsResponse{Transactions: []*moldauv1.Transaction{t}}, now)
	in := make([]string, len(t.GetPartitions()))
	for i, p := range t.GetPartitions() {
		in[i] = fmt.Sprintf("%s[%d]", p.GetTopic(), p.GetPartition())
	}
	if len(in) == 0 {
		in = []string{"-"}
	}
	a.message, a.wide = t, 0
	a.header = append(a.header, "PARTITIONS")
	a.rows[0] = append(a.rows[0], strings.Join(in, ","))
	return a
}

func (c *cli) txnAbort() *cobra.Command {
	var f care
	cmd := &cobra.Command{
		Use:               "abort ID",
		Short:             "Abort the open transaction of a transactional id, and fence its producer",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTransactions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.ask(cmd, fmt.Sprintf("Abort the open transaction of %s? Its producer is fenced and must begin anew.", args[0])); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				if f.dryRun {
					return g.mayAbort(ctx, cmd, args[0])
				}
				if _, err := g.transactions.ForceAbortTransaction(ctx, &moldauv1.ForceAbortTransactionRequest{TransactionalId: args[0]}); err != nil {
					return err
				}
				return tell(cmd, false, "aborted", "abort", "the transaction of %s", args[0])
			})
		},
	}
	f.add(cmd)
	return cmd
}

// mayAbort tells what abort would find.
func (g *stubs) mayAbort(ctx context.Context, cmd *cobra.Command, id string) error {
	resp, err := g.transactions.GetTransaction(ctx, &moldauv1.GetTransactionRequest{TransactionalId: id})
	if err != nil {
		return err
	}
	t := resp.GetTransaction()
	if t.GetState() != moldauv1.TransactionState_TRANSACTION_STATE_ONGOING {
		return precondition("only an ongoing one can be aborted", "the transaction of %s is %s", id, stateName(t.GetState()))
	}
	return tell(cmd, true, "aborted", "abort", "the transaction of %s in %s", id, count(int64(len(t.GetPartitions())), "partition"))
}

// completeTransactions offers transactional ids.
func (c *cli) completeTransactions(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.timeout = min(c.timeout, completionPatience)
	var ids []string
	err := c.call(cmd, func(ctx context.Context, g *stubs) error {
		resp, err := g.transactions.ListTransactions(ctx, &moldauv1.ListTransactionsRequest{PageSize: 1000})
		for _, t := range resp.GetTransactions() {
			ids = append(ids, t.GetTransactionalId())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, prefix) }), cobra.ShellCompDirectiveNoFileComp
}
