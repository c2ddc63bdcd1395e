package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"moldau.dev/metadata/metadataclient"
)

// upCommand runs the whole platform in one process: the role table from its
// first row to its last, with direct calls between the roles.
func (c *cli) upCommand() *cobra.Command {
	var data string
	var nodes int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole platform in one process, on loopback",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || nodes > maxNodes {
				return usagef("--nodes %d: not within 1 to %d", nodes, maxNodes)
			}
			defaults := defaultSettings()
			defaults.Gateway.AutoCreate = true
			s, err := c.settings(defaults, dataFlag(data))
			if err != nil {
				return err
			}
			return runProcess(cmd.Context(), s, roles, nodes, cmd.ErrOrStderr(), func(p *process) {
				welcome(cmd.OutOrStdout(), p)
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder for all data (default data)")
	cmd.Flags().IntVar(&nodes, "nodes", 1, "storage nodes in the process")
	return cmd
}

const maxNodes = 9

func dataFlag(dir string) map[string]any {
	if dir == "" {
		return nil
	}
	return map[string]any{"data_dir": dir}
}

func welcome(w io.Writer, p *process) {
	fmt.Fprintf(w, `moldau is up; its data is in %s
  gRPC       %s
  HTTP       http://%s   Connect, gRPC-Web, REST
  Kafka      %s
  admin      http://%s   /metrics /readyz /config
Try, in another terminal:
  printf 'hello\nworld\n' | moldau produce greetings
  moldau consume greetings --from start --until-end
`, p.settings.DataDir, reachable(p.doors.grpc), reachable(p.doors.http), reachable(p.doors.kafka), p.doors.admin)
}

// reachable returns an address that this machine reaches a listener by.
func reachable(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return listens
}

// roleCommands are the verbs that run one role each.
func (c *cli) roleCommands() []*cobra.Command {
	var commands []*cobra.Command
	for _, r := range roles {
		var data string
		cmd := &cobra.Command{
			Use:   r.name,
			Short: "Run the role " + r.name + ": " + r.about,
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.runRoles(cmd, []string{r.name}, data)
			},
		}
		cmd.Flags().StringVar(&data, "data", "", "folder for the role's data (default data)")
		if r.name == metadataclient.Role {
			cmd.AddCommand(c.acceptRestoreCommand())
		}
		commands = append(commands, cmd)
	}
	return commands
}

func (c *cli) runCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:               "run ROLE,ROLE…",
		Short:             "Run several roles of a cluster in one process",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runRoles(cmd, strings.Split(args[0], ","), data)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder for the roles' data (default data)")
	return cmd
}

func (c *cli) runRoles(cmd *cobra.Command, names []string, data string) error {
	picked, err := pickRoles(names)
	if err != nil {
		return err
	}
	s, err := c.settings(defaultSettings(), dataFlag(data))
	if err != nil {
		return err
	}
	return runProcess(cmd.Context(), s, picked, 1, cmd.ErrOrStderr(), func(*process) {})
}
