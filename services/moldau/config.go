package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"moldau.dev/services/config"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the settings"}
	var changed bool
	printCmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective settings as a config file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.settings(defaultSettings(), nil)
			if err != nil {
				return err
			}
			if !changed {
				return config.Print(cmd.OutOrStdout(), s)
			}
			for _, change := range config.Diff(s, defaultSettings()) {
				fmt.Fprintln(cmd.OutOrStdout(), change)
			}
			return nil
		},
	}
	printCmd.Flags().BoolVar(&changed, "changed", false, "only what differs from the defaults")
	list := &cobra.Command{
		Use:   "profiles",
		Short: "List the profiles: the config files in the user's config folder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range profiles() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", name, profileFile(name))
			}
			return nil
		},
	}
	cmd.AddCommand(printCmd, list)
	return cmd
}
