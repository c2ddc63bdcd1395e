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

func (c *cli) topicCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "topic", Short: "Create, look at, change and delete topics"}
	cmd.AddCommand(c.topicCreate(), c.topicList(), c.topicDescribe(), c.topicAlter(), c.topicAddPartitions(), c.topicDelete(), c.topicTrim())
	return cmd
}

func (c *cli) topicCreate() *cobra.Command {
	var req moldauv1.CreateTopicRequest
	var configs []string
	cmd := &cobra.Command{
		Use:   "create TOPIC",
		Short: "Create a topic",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			req.Name = args[0]
			if req.Configs, err = pairs("--config", configs); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.CreateTopic(ctx, &req)
				if err != nil {
					return err
				}
				verb := "created"
				if req.ValidateOnly {
					verb = "would create"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s with %d partitions\n", verb, args[0], resp.GetTopic().GetPartitionCount())
				return nil
			})
		},
	}
	cmd.Flags().Int32VarP(&req.PartitionCount, "partitions", "p", 0, "partitions; 0 is the cluster's default")
	cmd.Flags().Int32VarP(&req.ReplicationFactor, "replication-factor", "r", 0, "replicas of each partition; 0 is the cluster's default")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "a topic config, as KEY=VALUE")
	cmd.Flags().BoolVar(&req.ValidateOnly, "dry-run", false, "check, and create nothing")
	return cmd
}

func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, kv := range list {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, usagef("%s %s: not KEY=VALUE", flag, kv)
		}
		m[key] = value
	}
	return m, nil
}

func (c *cli) topicList() *cobra.Command {
	var out outputFlag
	var req moldauv1.ListTopicsRequest
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List topics",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				req.Prefix = args[0]
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				all, err := g.allTopics(ctx, &req)
				if err != nil {
					return err
				}
				return out.show(cmd.OutOrStdout(), topicsAnswer(all))
			})
		},
	}
	cmd.Flags().BoolVar(&req.IncludeInternal, "internal", false, "internal topics too")
	out.add(cmd)
	return cmd
}

func (g *stubs) allTopics(ctx context.Context, req *moldauv1.ListTopicsRequest) (*moldauv1.ListTopicsResponse, error) {
	all := &moldauv1.ListTopicsResponse{}
	for {
		page, err := g.topics.ListTopics(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Topics = append(all.Topics, page.GetTopics()...)
		all.Origin = page.GetOrigin()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func topicsAnswer(list *moldauv1.ListTopicsResponse) answer {
	a := answer{message: list, header: []string{"NAME", "PARTITIONS", "REPLICAS", "ID", "VERSION", "CREATED"}, wide: 3}
	for _, t := range list.GetTopics() {
		a.names = append(a.names, t.GetName())
		a.rows = append(a.rows, []string{
			t.GetName(), itoa(t.GetPartitionCount()), itoa(t.GetReplicationFactor()), t.GetTopicId(),
			strconv.FormatInt(t.GetVersion(), 10), t.GetCreateTime().AsTime().Format(timeFormat),
		})
	}
	return a
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func (c *cli) topicDescribe() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:               "describe TOPIC",
		Short:             "Show the partitions of a topic; -o wide its configs too",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if err := out.show(cmd.OutOrStdout(), partitionsAnswer(resp.GetTopic())); err != nil || out.format != "wide" {
					return err
				}
				return out.show(cmd.OutOrStdout(), configsAnswer(resp.GetTopic()))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func partitionsAnswer(t *moldauv1.Topic) answer {
	a := answer{message: t, names: []string{t.GetName()}, header: []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC"}}
	for _, p := range t.GetPartitions() {
		a.rows = append(a.rows, []string{
			itoa(p.GetIndex()), itoa(p.GetLeaderId()), itoa(p.GetLeaderEpoch()),
			ids(p.GetReplicaIds()), ids(p.GetInSyncReplicaIds()),
		})
	}
	return a
}

func configsAnswer(t *moldauv1.Topic) answer {
	a := answer{header: []string{"CONFIG", "VALUE", "SOURCE", "DEFAULT"}}
	for _, e := range t.GetConfigs() {
		source := strings.ToLower(strings.TrimPrefix(e.GetSource().String(), "CONFIG_SOURCE_"))
		a.rows = append(a.rows, []string{e.GetName(), e.GetValue(), source, e.GetDefaultValue()})
	}
	return a
}

func ids(list []int32) string {
	var b strings.Builder
	for i, id := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(itoa(id))
	}
	return b.String()
}

func (c *cli) topicAlter() *cobra.Command {
	var set, unset []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "alter TOPIC --config KEY=VALUE | --unset KEY",
		Short:             "Change a topic's configs",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics,
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
				_, err := g.topics.UpdateTopic(ctx, req)
				return err
			})
		},
	}
	cmd.Flags().StringArrayVarP(&set, "config", "c", nil, "a topic config, as KEY=VALUE")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "a config to set back to its default")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check, and change nothing")
	return cmd
}

func (c *cli) topicAddPartitions() *cobra.Command {
	var req moldauv1.AddPartitionsRequest
	cmd := &cobra.Command{
		Use:               "add-partitions TOPIC --to N",
		Short:             "Give a topic more partitions; keys may then hash elsewhere",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name = args[0]
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				_, err := g.topics.AddPartitions(ctx, &req)
				return err
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
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.ask(cmd, fmt.Sprintf("Delete topic %s and all its records?", args[0])); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.DeleteTopic(ctx, &moldauv1.DeleteTopicRequest{Name: args[0], ValidateOnly: f.dryRun})
				if err != nil {
					return err
				}
				verb := "deleted"
				if f.dryRun {
					verb = "would delete"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s (%s)\n", verb, args[0], resp.GetTopicId())
				return nil
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (c *cli) topicTrim() *cobra.Command {
	var f care
	var before int64
	var partition int32
	cmd := &cobra.Command{
		Use:               "trim TOPIC -p PARTITION --before OFFSET",
		Short:             "Delete the records of a partition before an offset",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.ask(cmd, fmt.Sprintf("Delete records of %s[%d] before %d?", args[0], partition, before)); err != nil {
				return err
			}
			req := &moldauv1.TrimTopicRequest{Name: args[0], ValidateOnly: f.dryRun, Partitions: []*moldauv1.TrimPartition{{Partition: partition, BeforeOffset: before}}}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.TrimTopic(ctx, req)
				if err != nil {
					return err
				}
				for _, p := range resp.GetPartitions() {
					fmt.Fprintf(cmd.OutOrStdout(), "%s[%d] starts at %d\n", args[0], p.GetPartition(), p.GetEarliestOffset())
				}
				return nil
			})
		},
	}
	cmd.Flags().Int64Var(&before, "before", 0, "first offset to keep")
	cmd.Flags().Int32VarP(&partition, "partition", "p", 0, "partition")
	_ = cmd.MarkFlagRequired("before")
	_ = cmd.MarkFlagRequired("partition")
	f.add(cmd)
	return cmd
}
