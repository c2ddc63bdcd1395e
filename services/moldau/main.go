// Command moldau is the one binary: every role of the platform, alone or with
// others in one process, and the command line that talks to a gateway.
//
// Above it is only the user; below it are all services. The invariant to
// remember: roles.go is the one place that knows which roles exist, in river
// order, and a process starts up it and stops down it.
package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"moldau.dev/services/transport"
)

func main() {
	transport.RegisterCodec()
	ctx, stop := untilSignal()
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	return report(errs, root.ExecuteContext(ctx))
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends. The
// second one ends the process at once, as if nobody caught it.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func newRoot() *cobra.Command {
	c := &cli{}
	root := &cobra.Command{
		Use:           "moldau",
		Short:         "Event streaming with Kafka's semantics, over gRPC",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(usageOf)
	flags := root.PersistentFlags()
	flags.StringVar(&c.configFile, "config", "", "config file, in place of a profile")
	flags.StringVar(&c.profile, "profile", "", "config file NAME.yaml in the folder moldau of the user's config folder (default $MOLDAU_PROFILE, or config)")
	flags.StringVar(&c.addr, "addr", "", "gRPC address of a gateway, for the verbs (default 127.0.0.1:9090)")
	flags.StringArrayVar(&c.set, "set", nil, "any setting, as KEY=VALUE; see moldau config print")
	flags.DurationVar(&c.timeout, "timeout", defaultTimeout, "how long one request may take")
	root.AddCommand(
		c.upCommand(), c.runCommand(), c.configCommand(), c.healthCommand(), c.doctorCommand(), c.versionCommand(),
		c.topicCommand(), c.produceCommand(), c.consumeCommand(), c.groupCommand(), c.txnCommand(), c.clusterCommand(), c.nodeCommand(), c.benchCommand(),
	)
	root.AddCommand(c.roleCommands()...)
	complete(root, "profile", profiles()...)
	markUsageErrors(root)
	return root
}

// markUsageErrors makes wrong arguments and flags exit with the code of wrong
// usage.
func markUsageErrors(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		markUsageErrors(sub)
	}
	check := cmd.Args
	if check == nil {
		if !cmd.HasSubCommands() {
			return
		}
		check = noSuchVerb
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		// cobra checks flags by itself after this, with plain errors.
		if err := cmp.Or(check(cmd, args), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
			return usageOf(cmd, err)
		}
		return nil
	}
}

func noSuchVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s has no verb %q", cmd.CommandPath(), args[0])
}
