package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func (c *cli) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "Look at the cluster, move and balance its partitions"}
	var out outputFlag
	status := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes and what they carry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.cluster.GetCluster(ctx, &moldauv1.GetClusterRequest{})
				if err != nil {
					return err
				}
				if isTerminal(cmd.OutOrStdout()) && (out.format == "table" || out.format == "wide") {
					fmt.Fprintf(cmd.OutOrStdout(), "cluster %s: %d topics, %d partitions, %d of them offline\n",
						resp.GetClusterId(), resp.GetTopicCount(), resp.GetPartitionCount(), resp.GetOfflinePartitionCount())
				}
				return out.show(cmd.OutOrStdout(), nodesAnswer(resp, resp.GetNodes()))
			})
		},
	}
	out.add(status)
	cmd.AddCommand(status, c.clusterReassign(), c.clusterMoves(), c.clusterCancel(), c.clusterRebalance(), c.clusterElect())
	return cmd
}

func nodesAnswer(message proto.Message, nodes []*moldauv1.Node) answer {
	a := answer{message: message, header: []string{"NODE", "STATE", "LEADS", "REPLICAS", "LAGGING", "RACK", "ADDRESS"}, wide: 5}
	for _, n := range nodes {
		a.names = append(a.names, itoa(n.GetId()))
		state := strings.ToLower(strings.TrimPrefix(n.GetState().String(), "NODE_STATE_"))
		if n.GetEvacuating() {
			state += ",evacuating"
		}
		a.rows = append(a.rows, []string{
			itoa(n.GetId()), state, itoa(n.GetLeaderCount()), itoa(n.GetReplicaCount()), itoa(n.GetLaggingCount()), n.GetRack(), n.GetAddress(),
		})
	}
	return a
}
