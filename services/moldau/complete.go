package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/topicconfig"
)

const (
	many               = 1 << 10 // arguments that a verb takes
	completionPatience = 2 * time.Second
)

// complete offers fixed words for a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeTopics offers the names of topics for the first so many arguments.
func (c *cli) completeTopics(arguments int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= arguments {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c.timeout = min(c.timeout, completionPatience)
		var names []string
		err := c.call(cmd, func(ctx context.Context, g *stubs) error {
			resp, err := g.topics.ListTopics(ctx, &moldauv1.ListTopicsRequest{Prefix: prefix, PageSize: 1000})
			for _, t := range resp.GetTopics() {
				if !slices.Contains(args, t.GetName()) {
					names = append(names, t.GetName())
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeConfigs offers the names of topic configs, with what follows a name.
func completeConfigs(cmd *cobra.Command, flag, after string) {
	var names []string
	for _, d := range topicconfig.Definitions() {
		names = append(names, d.Name+after+"\t"+d.Documentation)
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if after != "" {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(names, directive))
}

// completeRoles offers roles in a list with commas.
func completeRoles(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	given, last := "", prefix
	if i := strings.LastIndexByte(prefix, ','); i >= 0 {
		given, last = prefix[:i+1], prefix[i+1:]
	}
	var lists []string
	for _, name := range roleNames() {
		if strings.HasPrefix(name, last) && !slices.Contains(strings.Split(given, ","), name) {
			lists = append(lists, given+name)
		}
	}
	return lists, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
