package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/config"
)

const doctorPatience = 2 * time.Second

// finding is one line of doctor: what was looked at, and what to know about it
// or why it is bad, if it is.
type finding struct {
	about, found string
	note, bad    string
}

// doctorCommand looks at this machine, and at the moldau that runs on it if
// one does.
func (c *cli) doctorCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine and what runs on it: ports, cluster, disk, fsync, limits",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.settings(defaultSettings(), dataFlag(data))
			if err != nil {
				return err
			}
			var sick int
			for _, f := range c.examine(cmd, s) {
				mark := "ok"
				switch {
				case f.bad != "":
					mark, sick = "BAD", sick+1
					f.found += ": " + f.bad
				case f.note != "":
					mark = "note"
					f.found += ": " + f.note
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-4s %-20s %s\n", mark, f.about, f.found)
			}
			if sick > 0 {
				return precondition("see the lines marked BAD", "%s failed", count(int64(sick), "check"))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder for all data (default data)")
	return cmd
}

func (c *cli) examine(cmd *cobra.Command, s Settings) []finding {
	ctx, cancel := context.WithTimeout(cmd.Context(), min(c.timeout, doctorPatience))
	defer cancel()
	running := askReady(ctx, s.AdminListen) == nil
	var all []finding
	for _, p := range []struct{ key, addr string }{
		{"gateway.grpc_listen", s.Gateway.GRPCListen}, {"gateway.http_listen", s.Gateway.HTTPListen},
		{"gateway.kafka_listen", s.Gateway.KafkaListen}, {"admin_listen", s.AdminListen},
	} {
		all = append(all, checkPort(p.key, p.addr, running))
	}
	return append(all, c.checkCluster(cmd), checkDisk(s.DataDir), checkSync(s.DataDir), checkOpenFiles(), checkMemory(), checkCongestion(),
		finding{about: "processors", found: fmt.Sprint(runtime.GOMAXPROCS(0))})
}

// checkPort takes a port that is taken for moldau's own where a moldau runs.
func checkPort(key, addr string, running bool) finding {
	f := finding{about: key, found: addr}
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && running:
		f.found += " is open, and a moldau is ready here"
	case errors.Is(err, syscall.EADDRINUSE):
		f.bad = "taken, and not by a moldau that is ready; another can be set with " + config.EnvName(key)
	case err != nil:
		f.bad = err.Error()
	default:
		f.found += " is free"
		_ = l.Close()
	}
	return f
}

// checkCluster asks the gateway that the verbs talk to, if there is one.
func (c *cli) checkCluster(cmd *cobra.Command) finding {
	f := finding{about: "cluster"}
	c.timeout = min(c.timeout, doctorPatience)
	err := c.call(cmd, func(ctx context.Context, g *stubs) error {
		f.found = "no gateway answers at " + g.addr
		resp, err := g.cluster.GetCluster(ctx, &moldauv1.GetClusterRequest{})
		if err != nil {
			return err
		}
		var live int64
		for _, n := range resp.GetNodes() {
			if n.GetState() == moldauv1.NodeState_NODE_STATE_LIVE {
				live++
			}
		}
		f.found = fmt.Sprintf("%s at %s: %s, %d live, %s, %s", resp.GetClusterId(), g.addr,
			count(int64(len(resp.GetNodes())), "node"), live, count(int64(resp.GetTopicCount()), "topic"), count(int64(resp.GetPartitionCount()), "partition"))
		switch {
		case resp.GetOfflinePartitionCount() > 0:
			f.bad = fmt.Sprintf("%s without a leader; see moldau cluster status", count(int64(resp.GetOfflinePartitionCount()), "partition"))
		case live < int64(len(resp.GetNodes())):
			f.bad = "see moldau cluster status"
		}
		return nil
	})
	if err != nil {
		f.note = "moldau up starts one, --addr names another"
	}
	return f
}
