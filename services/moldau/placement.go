package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

func (g *stubs) placement() moldauv1.PlacementServiceClient {
	return moldauv1.NewPlacementServiceClient(g.conn)
}

func (c *cli) clusterReassign() *cobra.Command {
	var dryRun, noWait bool
	var partitions, nodes []int32
	cmd := &cobra.Command{
		Use:               "reassign TOPIC --to NODE,NODE…",
		Short:             "Move partitions of a topic to other nodes, and wait until they are there",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &moldauv1.ReassignRequest{ValidateOnly: dryRun}
			err := c.call(cmd, func(ctx context.Context, g *stubs) error {
				got, err := g.topics.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if len(partitions) == 0 {
					for i := range got.GetTopic().GetPartitionCount() {
						partitions = append(partitions, i)
					}
				}
				for i, p := range partitions {
					req.Placements = append(req.Placements, &moldauv1.PartitionPlacement{Topic: args[0], Partition: p, ReplicaIds: turned(nodes, i)})
				}
				resp, err := g.placement().Reassign(ctx, req)
				if err != nil {
					return err
				}
				return refusals(resp.GetResults(), "moved")
			})
			if err != nil || dryRun || noWait {
				if err == nil {
					err = tell(cmd, dryRun, "moving", "move", "%s of topic %s to nodes %s", count(int64(len(req.Placements)), "partition"), args[0], ids(nodes))
				}
				return err
			}
			err = c.stream(cmd, func(ctx context.Context, g *stubs) error {
				return g.moved(ctx, cmd.ErrOrStderr(), clock.Real(), req.Placements)
			})
			if err != nil {
				return err
			}
			return tell(cmd, false, "moved", "", "%s of topic %s to nodes %s", count(int64(len(req.Placements)), "partition"), args[0], ids(nodes))
		},
	}
	cmd.Flags().Int32SliceVarP(&partitions, "partition", "p", nil, "only these partitions (default all)")
	cmd.Flags().Int32SliceVar(&nodes, "to", nil, "the nodes that shall hold replicas, preferred leader first; each next partition begins with the next one")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check, and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return once the moves have begun")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

// turned begins a list with its n-th element, so that leaders are spread.
func turned(list []int32, n int) []int32 {
	if len(list) == 0 {
		return nil
	}
	n %= len(list)
	return append(append([]int32{}, list[n:]...), list[:n]...)
}

// refusals is an error that names the first partition that could not be
// changed; the others were.
func refusals(results []*moldauv1.PartitionChange, done string) error {
	for _, r := range results {
		if e := r.GetError(); e != nil {
			return hinted("the others were "+done, "%s[%d] was not %s: %s", r.GetTopic(), r.GetPartition(), done, e.GetMessage())
		}
	}
	return nil
}

// moved waits until none of the partitions moves any more, and tells how far
// that is.
func (g *stubs) moved(ctx context.Context, w io.Writer, clk clock.Clock, of []*moldauv1.PartitionPlacement) error {
	type key struct {
		topic     string
		partition int32
	}
	ours := map[key]bool{}
	for _, p := range of {
		ours[key{p.GetTopic(), p.GetPartition()}] = true
	}
	p := newProgress(w, clk, "partitions", int64(len(of)))
	defer p.done()
	for {
		resp, err := g.placement().ListReassignments(ctx, &moldauv1.ListReassignmentsRequest{})
		if err != nil {
			return err
		}
		var left int64
		for _, m := range resp.GetReassignments() {
			if ours[key{m.GetTopic(), m.GetPartition()}] {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		p.left(left)
		if err := pause(ctx, clk, time.Second); err != nil {
			return err
		}
	}
}

func (c *cli) clusterMoves() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:   "moves",
		Short: "List the partitions that move",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.placement().ListReassignments(ctx, &moldauv1.ListReassignmentsRequest{})
				if err != nil {
					return err
				}
				a := answer{message: resp, header: []string{"TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING", "IN-SYNC"}}
				for _, m := range resp.GetReassignments() {
					a.names = append(a.names, m.GetTopic()+"["+itoa(m.GetPartition())+"]")
					a.rows = append(a.rows, []string{
						m.GetTopic(), itoa(m.GetPartition()), ids(m.GetReplicaIds()),
						orDash(ids(m.GetAddingReplicaIds())), orDash(ids(m.GetRemovingReplicaIds())), ids(m.GetInSyncReplicaIds()),
					})
				}
				return out.show(cmd.OutOrStdout(), a)
			})
		},
	}
	out.add(cmd)
	return cmd
}

func (c *cli) clusterCancel() *cobra.Command {
	var f care
	cmd := &cobra.Command{
		Use:   "cancel",
		Short: "Take all partitions that move back to where they were",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.ask(cmd, "Cancel all moves?"); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.placement().CancelReassignments(ctx, &moldauv1.CancelReassignmentsRequest{ValidateOnly: f.dryRun})
				if err != nil {
					return err
				}
				if err := refusals(resp.GetResults(), "cancelled"); err != nil {
					return err
				}
				return tell(cmd, f.dryRun, "cancelled", "cancel", "%s", count(int64(len(resp.GetResults())), "move"))
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (c *cli) clusterRebalance() *cobra.Command {
	var req moldauv1.RebalanceRequest
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Spread leaders and replicas evenly over the nodes now",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.placement().Rebalance(ctx, &req)
				if err != nil {
					return err
				}
				for _, p := range resp.GetPlacements() {
					fmt.Fprintf(cmd.OutOrStdout(), "%s[%d] to nodes %s\n", p.GetTopic(), p.GetPartition(), ids(p.GetReplicaIds()))
				}
				return tell(cmd, req.ValidateOnly, "moving", "move", "%s and %s", count(int64(len(resp.GetPlacements())), "partition"), count(int64(resp.GetLeadersMoved()), "leader"))
			})
		},
	}
	cmd.Flags().BoolVar(&req.ValidateOnly, "dry-run", false, "show what would move, and change nothing")
	return cmd
}

func (c *cli) clusterElect() *cobra.Command {
	var f care
	var unclean bool
	var partitions []int32
	cmd := &cobra.Command{
		Use:               "elect [TOPIC]",
		Short:             "Make preferred leaders lead; with --unclean a replica that lost records",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && (unclean || len(partitions) > 0) || unclean && len(partitions) == 0 {
				return usagef("--partition goes with a TOPIC, and --unclean with both")
			}
			req := &moldauv1.ElectLeadersRequest{Unclean: unclean}
			if unclean {
				if err := f.ask(cmd, "Elect leaders that lack records? Those records are lost."); err != nil {
					return err
				}
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				if len(args) > 0 && len(partitions) == 0 {
					got, err := g.topics.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: args[0]})
					if err != nil {
						return err
					}
					for _, p := range got.GetTopic().GetPartitions() {
						if p.GetLeaderId() != p.GetReplicaIds()[0] {
							partitions = append(partitions, p.GetIndex())
						}
					}
					if len(partitions) == 0 {
						return tell(cmd, false, "elected", "", "no leader: all preferred ones lead")
					}
				}
				for _, p := range partitions {
					req.Elections = append(req.Elections, &moldauv1.LeaderElection{Topic: args[0], Partition: p})
				}
				resp, err := g.placement().ElectLeaders(ctx, req)
				if err != nil {
					return err
				}
				if err := refusals(resp.GetResults(), "elected for"); err != nil {
					return err
				}
				return tell(cmd, false, "elected", "", "%s", count(int64(len(resp.GetResults())), "leader"))
			})
		},
	}
	cmd.Flags().Int32SliceVarP(&partitions, "partition", "p", nil, "only these partitions")
	cmd.Flags().BoolVar(&unclean, "unclean", false, "elect a replica that is not in sync: records are lost")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}
