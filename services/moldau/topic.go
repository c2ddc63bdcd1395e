package main

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

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
		Use:               "create TOPIC",
		Short:             "Create a topic",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
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
				n := resp.GetTopic().GetPartitionCount()
				return tell(cmd, req.ValidateOnly, "created", "create", "topic %s with %s", args[0], count(int64(n), "partition"))
			})
		},
	}
	cmd.Flags().Int32VarP(&req.PartitionCount, "partitions", "p", 0, "partitions; 0 is the cluster's default")
	cmd.Flags().Int32VarP(&req.ReplicationFactor, "replication-factor", "r", 0, "replicas of each partition; 0 is the cluster's default")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "a topic config, as KEY=VALUE")
	cmd.Flags().BoolVar(&req.ValidateOnly, "dry-run", false, "check, and create nothing")
	completeConfigs(cmd, "config", "=")
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
		Use:               "list [PREFIX]",
		Short:             "List topics",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.completeTopics(1),
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
		Short:             "Show the partitions of a topic; -o wide their offsets and its configs too",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.topics.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if out.format != "wide" {
					return out.show(cmd.OutOrStdout(), partitionsAnswer(resp.GetTopic()))
				}
				return g.describeWide(ctx, cmd.OutOrStdout(), &out, resp.GetTopic())
			})
		},
	}
	out.add(cmd)
	return cmd
}

func (g *stubs) describeWide(ctx context.Context, w io.Writer, out *outputFlag, t *moldauv1.Topic) error {
	a := partitionsAnswer(t)
	for _, of := range []struct {
		column string
		at     *moldauv1.Position
	}{
		{"START", &moldauv1.Position{At: &moldauv1.Position_Start{Start: true}}},
		{"END", &moldauv1.Position{At: &moldauv1.Position_End{End: true}}},
	} {
		resp, err := g.read.ListOffsets(ctx, &moldauv1.ListOffsetsRequest{Topic: t.GetName(), Position: of.at})
		if err != nil {
			return err
		}
		a.header = append(a.header, of.column)
		offsets := map[int32]int64{}
		for _, o := range resp.GetOffsets() {
			offsets[o.GetPartition()] = o.GetOffset()
		}
		for i, p := range t.GetPartitions() {
			a.rows[i] = append(a.rows[i], strconv.FormatInt(offsets[p.GetIndex()], 10))
		}
	}
	if err := out.show(w, a); err != nil {
		return err
	}
	return out.show(w, configsAnswer(t))
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
