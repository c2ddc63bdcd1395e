package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// care are the flags of verbs that destroy.
type care struct{ dryRun, yes bool }

func (f *care) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "check and show what would happen, and change nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// ask returns nil if the user agrees. Nobody can agree without a terminal.
func (f *care) ask(cmd *cobra.Command, question string) error {
	if f.yes || f.dryRun {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return precondition("add --yes, or --dry-run to look first", "%s needs a yes, and there is no terminal to ask on", cmd.CommandPath())
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	reply, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if strings.EqualFold(strings.TrimSpace(reply), "y") || strings.EqualFold(strings.TrimSpace(reply), "yes") {
		return nil
	}
	return &failure{code: exitFailed, err: fmt.Errorf("nothing was changed")}
}
