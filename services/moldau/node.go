package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

func (c *cli) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Look at storage nodes, empty and remove them"}
	cmd.AddCommand(c.nodeList(), c.nodeDescribe(), c.nodeDrain(), c.nodeUndrain(), c.nodeRemove())
	return cmd
}

func (g *stubs) nodes() moldauv1.NodeServiceClient { return moldauv1.NewNodeServiceClient(g.conn) }

func nodeID(arg string) (int32, error) {
	id, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || id < 0 {
		return 0, usagef("node %q: not an id", arg)
	}
	return int32(id), nil
}

func (c *cli) nodeList() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the nodes and what they carry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.cluster.GetCluster(ctx, &moldauv1.GetClusterRequest{})
				if err != nil {
					return err
				}
				return out.show(cmd.OutOrStdout(), nodesAnswer(resp, resp.GetNodes()))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func (c *cli) nodeDescribe() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:   "describe NODE",
		Short: "Show one node",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := nodeID(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.nodes().GetNode(ctx, &moldauv1.GetNodeRequest{NodeId: id})
				if err != nil {
					return err
				}
				return out.show(cmd.OutOrStdout(), nodesAnswer(resp.GetNode(), []*moldauv1.Node{resp.GetNode()}))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func (c *cli) nodeDrain() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move all replicas off a node, and wait until it is empty",
		Long:  "Move all replicas off a node, and wait until it is empty. The cluster goes on by itself where the wait is ended.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := nodeID(args[0])
			if err != nil {
				return err
			}
			var first *moldauv1.Node
			err = c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.nodes().DrainNode(ctx, &moldauv1.DrainNodeRequest{NodeId: id})
				first = resp.GetNode()
				return err
			})
			if err != nil {
				return err
			}
			if noWait {
				return tell(cmd, false, "draining", "", "node %d: %s left", id, count(int64(first.GetReplicaCount()), "replica"))
			}
			err = c.stream(cmd, func(ctx context.Context, g *stubs) error {
				return g.drained(ctx, cmd.ErrOrStderr(), clock.Real(), first)
			})
			if err != nil {
				return err
			}
			return tell(cmd, false, "drained", "", "node %d: it holds no replica", id)
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return once the moves have begun")
	return cmd
}

// drained waits until a node is empty, and tells how far it is.
func (g *stubs) drained(ctx context.Context, w io.Writer, clk clock.Clock, first *moldauv1.Node) error {
	p := newProgress(w, clk, "replicas", int64(first.GetReplicaCount()))
	defer p.done()
	for n := first; n.GetReplicaCount() > 0; {
		p.left(int64(n.GetReplicaCount()))
		if err := pause(ctx, clk, time.Second); err != nil {
			return err
		}
		resp, err := g.nodes().GetNode(ctx, &moldauv1.GetNodeRequest{NodeId: first.GetId()})
		if err != nil {
			return err
		}
		if n = resp.GetNode(); !n.GetEvacuating() {
			return precondition("drain it again", "node %d is not drained any more: someone has undrained it", n.GetId())
		}
	}
	return nil
}

func (c *cli) nodeUndrain() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain NODE",
		Short: "Let a node take replicas again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := nodeID(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.nodes().UndrainNode(ctx, &moldauv1.UndrainNodeRequest{NodeId: id})
				if err != nil {
					return err
				}
				return tell(cmd, false, "undrained", "", "node %d: it holds %s", id, count(int64(resp.GetNode().GetReplicaCount()), "replica"))
			})
		},
	}
}

func (c *cli) nodeRemove() *cobra.Command {
	var f care
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Forget a node that has stopped and holds no replicas",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := nodeID(args[0])
			if err != nil {
				return err
			}
			if err := f.ask(cmd, fmt.Sprintf("Remove node %d?", id)); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.nodes().GetNode(ctx, &moldauv1.GetNodeRequest{NodeId: id})
				switch n := resp.GetNode(); {
				case err != nil:
					return err
				case f.dryRun && n.GetState() != moldauv1.NodeState_NODE_STATE_FENCED:
					return precondition("stop its process first", "node %d is in service", id)
				case f.dryRun && n.GetReplicaCount() > 0:
					return precondition("moldau node drain "+args[0], "node %d holds %s", id, count(int64(n.GetReplicaCount()), "replica"))
				case !f.dryRun:
					if _, err := g.nodes().RemoveNode(ctx, &moldauv1.RemoveNodeRequest{NodeId: id}); err != nil {
						return err
					}
				}
				return tell(cmd, f.dryRun, "removed", "remove", "node %d", id)
			})
		},
	}
	f.add(cmd)
	return cmd
}
