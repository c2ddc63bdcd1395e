package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func (c *cli) topicAlter() *cobra.Command {
	var set, unset []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "alter TOPIC --config KEY=VALUE | --unset KEY",
		Short:             "Change a topic's configs",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			configs, err := pairs("--config", set)
			if err != nil {
				return err
			}
			if len(configs)+len(unset) == 0 {
				return usagef("nothing to change: give --config or --unset")
			}
			mask := &fieldmaskpb.FieldMask{}
			for _, key := range slices.Concat(slices.Sorted(maps.Keys(configs)), unset) {
				mask.Paths = append(mask.Paths, "configs."+key)
			}
			req := &moldauv1.UpdateTopicRequest{Name: args[0], Configs: configs, UpdateMask: mask, ValidateOnly: dryRun}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				if _, err := g.topics.UpdateTopic(ctx, req); err != nil {
					return err
				}
				return tell(cmd, dryRun, "changed", "change", "topic %s: %s", args[0], strings.Join(changes(configs, unset), ", "))
			})
		},
	}
	cmd.Flags().StringArrayVarP(&set, "config", "c", nil, "a topic config, as KEY=VALUE")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "a config to set back to its default")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check, and change nothing")
	completeConfigs(cmd, "config", "=")
	completeConfigs(cmd, "unset", "")
	return cmd
}

// changes tells what alter does, config by config.
func changes(set map[string]string, unset []string) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		list = append(list, key+"="+set[key])
	}
	for _, key := range unset {
		list = append(list, key+" to its default")
	}
	return list
}

func (c *cli) topicAddPartitions() *cobra.Command {
	var req moldauv1.AddPartitionsRequest
	cmd := &cobra.Command{
		Use:               "add-partitions TOPIC --to N",
		Short:             "Give a topic more partitions; keys may then hash elsewhere",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name = args[0]
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				if _, err := g.topics.AddPartitions(ctx, &req); err != nil {
					return err
				}
				return tell(cmd, req.ValidateOnly, "grew", "grow", "topic %s to %s", args[0], count(int64(req.PartitionCount), "partition"))
			})
		},
	}
	cmd.Flags().Int32Var(&req.PartitionCount, "to", 0, "partitions that the topic shall have")
	cmd.Flags().BoolVar(&req.ValidateOnly, "dry-run", false, "check, and change nothing")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func (c *cli) topicDelete() *cobra.Command {
	var f care
	cmd := &cobra.Command{
		Use:               "delete TOPIC",
		Short:             "Delete a topic and all its records",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.ask(cmd, fmt.Sprintf("Delete topic %s and all its records?", args[0])); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.DeleteTopic(ctx, &moldauv1.DeleteTopicRequest{Name: args[0], ValidateOnly: f.dryRun})
				if err != nil {
					return err
				}
				return tell(cmd, f.dryRun, "deleted", "delete", "topic %s (%s)", args[0], resp.GetTopicId())
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (c *cli) topicTrim() *cobra.Command {
	var f care
	var before string
	var partition int32
	cmd := &cobra.Command{
		Use:               "trim TOPIC -p PARTITION --before OFFSET",
		Short:             "Delete the records of a partition before an offset",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			offset, err := trimOffset(before)
			if err != nil {
				return err
			}
			if err := f.ask(cmd, fmt.Sprintf("Delete the records of %s[%d] before %s?", args[0], partition, before)); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				return g.trim(ctx, cmd, &moldauv1.TrimTopicRequest{
					Name: args[0], ValidateOnly: f.dryRun, Partitions: []*moldauv1.TrimPartition{{Partition: partition, BeforeOffset: offset}},
				})
			})
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "first offset to keep, or end to keep none")
	cmd.Flags().Int32VarP(&partition, "partition", "p", 0, "partition")
	_ = cmd.MarkFlagRequired("before")
	_ = cmd.MarkFlagRequired("partition")
	complete(cmd, "before", "end")
	f.add(cmd)
	return cmd
}

// trimOffset reads --before; -1 stands for the end.
func trimOffset(s string) (int64, error) {
	if s == "end" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, usagef("--before %s: neither an offset nor end", s)
	}
	return n, nil
}

// trim tells how much it deletes, which the answer alone does not.
func (g *stubs) trim(ctx context.Context, cmd *cobra.Command, req *moldauv1.TrimTopicRequest) error {
	p := req.GetPartitions()[0].GetPartition()
	was, err := g.read.ListOffsets(ctx, &moldauv1.ListOffsetsRequest{Topic: req.GetName(), Partitions: []int32{p}})
	if err != nil {
		return err
	}
	resp, err := g.topics.TrimTopic(ctx, req)
	if err != nil {
		return err
	}
	start := resp.GetPartitions()[0].GetEarliestOffset()
	gone := max(0, start-was.GetOffsets()[0].GetOffset())
	return tell(cmd, req.GetValidateOnly(), "deleted", "delete", "%s of %s[%d], which begins at %d then", count(gone, "offset"), req.GetName(), p, start)
}
