package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

func (c *cli) groupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "Look at groups of readers, move and delete them"}
	cmd.AddCommand(c.groupList(), c.groupDescribe(), c.groupSeek(), c.groupDelete())
	return cmd
}

func (g *stubs) groups() moldauv1.GroupServiceClient { return moldauv1.NewGroupServiceClient(g.conn) }

func (c *cli) groupList() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:               "list [PREFIX]",
		Short:             "List groups",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &moldauv1.ListGroupsRequest{Prefix: strings.Join(args, "")}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				all, err := g.allGroups(ctx, req)
				if err != nil {
					return err
				}
				if err := out.show(cmd.OutOrStdout(), groupsAnswer(all)); err != nil {
					return err
				}
				if all.GetIncomplete() {
					return hinted("ask again in a moment", "groups may be missing: a coordinator is not there yet")
				}
				return nil
			})
		},
	}
	out.add(cmd)
	return cmd
}

func (g *stubs) allGroups(ctx context.Context, req *moldauv1.ListGroupsRequest) (*moldauv1.ListGroupsResponse, error) {
	all := &moldauv1.ListGroupsResponse{}
	for {
		page, err := g.groups().ListGroups(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Groups = append(all.Groups, page.GetGroups()...)
		all.Incomplete = all.GetIncomplete() || page.GetIncomplete()
		all.Origin = page.GetOrigin()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func groupsAnswer(list *moldauv1.ListGroupsResponse) answer {
	a := answer{message: list, header: []string{"GROUP", "STATE", "TYPE", "PROTOCOL"}}
	for _, g := range list.GetGroups() {
		a.names = append(a.names, g.GetGroupId())
		a.rows = append(a.rows, []string{g.GetGroupId(), word(g.GetState().String(), "GROUP_STATE_"), word(g.GetType().String(), "GROUP_TYPE_"), g.GetProtocolType()})
	}
	return a
}

// word is the name of an enum's value as people write it.
func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

func (c *cli) groupDescribe() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:               "describe GROUP",
		Short:             "Show how far a group has read; -o wide its members too",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.groups().GetGroup(ctx, &moldauv1.GetGroupRequest{GroupId: args[0]})
				if err != nil {
					return err
				}
				if err := out.show(cmd.OutOrStdout(), progressAnswer(resp.GetGroup())); err != nil || out.format != "wide" {
					return err
				}
				return out.show(cmd.OutOrStdout(), membersAnswer(resp.GetGroup()))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func progressAnswer(g *moldauv1.Group) answer {
	a := answer{message: g, names: []string{g.GetGroupId()}, header: []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "MEMBER"}}
	for _, p := range g.GetProgress() {
		behind := "-"
		if p.GetTimeLag() != nil {
			behind = p.GetTimeLag().AsDuration().Round(time.Millisecond).String()
		}
		a.rows = append(a.rows, []string{
			p.GetTopic(), itoa(p.GetPartition()), known(p.GetCommittedOffset()), known(p.GetEndOffset()), known(p.GetLag()), behind, orDash(p.GetMemberId()),
		})
	}
	return a
}

// known is an offset, or a dash where there is none.
func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func membersAnswer(g *moldauv1.Group) answer {
	a := answer{header: []string{"MEMBER", "EPOCH", "INSTANCE", "CLIENT", "HOST", "HOLDS"}}
	for _, m := range g.GetMembers() {
		var holds []string
		for _, p := range m.GetAssignment() {
			holds = append(holds, p.GetTopic()+"["+ids(p.GetPartitions())+"]")
		}
		a.rows = append(a.rows, []string{
			m.GetMember().GetMemberId(), itoa(m.GetMember().GetGeneration()), orDash(m.GetMember().GetInstanceId()),
			orDash(m.GetClientId()), orDash(m.GetClientHost()), orDash(strings.Join(holds, " ")),
		})
	}
	return a
}

func (c *cli) groupSeek() *cobra.Command {
	var f care
	var out outputFlag
	var to string
	var topics []string
	var partitions []int32
	cmd := &cobra.Command{
		Use:               "seek GROUP --topic TOPIC --to PLACE",
		Short:             "Move a group that has no members to other places",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			position, err := parsePosition(to, clock.Real().Now())
			if err != nil {
				return err
			}
			if len(partitions) > 0 && len(topics) != 1 {
				return usagef("--partition goes with one --topic")
			}
			req := &moldauv1.SeekGroupRequest{GroupId: args[0], ValidateOnly: f.dryRun}
			for _, name := range topics {
				t := &moldauv1.ReadTopic{Topic: name, Position: position}
				for _, p := range partitions {
					t.Partitions = append(t.Partitions, &moldauv1.ReadPartition{Partition: p})
				}
				req.Topics = append(req.Topics, t)
			}
			if err := f.ask(cmd, "Move group "+args[0]+" in "+strings.Join(topics, ", ")+" to "+to+"?"); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.groups().SeekGroup(ctx, req)
				if err != nil {
					return err
				}
				if err := out.show(cmd.OutOrStdout(), seekAnswer(resp)); err != nil {
					return err
				}
				for _, p := range resp.GetPartitions() {
					if e := p.GetError(); e != nil {
						return hinted("the others were moved", "%s[%d] was not moved: %s", p.GetTopic(), p.GetPartition(), e.GetMessage())
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "start, end, OFFSET, -N (N before the end) or @TIME (RFC 3339, epoch ms, or @-1h)")
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "a topic to move the group in")
	cmd.Flags().Int32SliceVarP(&partitions, "partition", "p", nil, "only these partitions")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagRequired("topic")
	complete(cmd, "to", "start", "end", "@-1h", "-10")
	out.add(cmd)
	f.add(cmd)
	return cmd
}

func seekAnswer(resp *moldauv1.SeekGroupResponse) answer {
	a := answer{message: resp, header: []string{"TOPIC", "PARTITION", "FROM", "TO"}}
	for _, p := range resp.GetPartitions() {
		a.names = append(a.names, p.GetTopic()+"["+itoa(p.GetPartition())+"]")
		a.rows = append(a.rows, []string{p.GetTopic(), itoa(p.GetPartition()), known(p.GetFromOffset()), known(p.GetToOffset())})
	}
	return a
}

func (c *cli) groupDelete() *cobra.Command {
	var f care
	cmd := &cobra.Command{
		Use:               "delete GROUP",
		Short:             "Delete a group that has no members, and its offsets",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.ask(cmd, "Delete group "+args[0]+" and its offsets?"); err != nil {
				return err
			}
			return c.call(cmd, func(ctx context.Context, g *stubs) error {
				resp, err := g.groups().GetGroup(ctx, &moldauv1.GetGroupRequest{GroupId: args[0]})
				if err != nil {
					return err
				}
				if n := len(resp.GetGroup().GetMembers()); n > 0 {
					return precondition("stop them first", "group %s has %s", args[0], count(int64(n), "member"))
				}
				if !f.dryRun {
					if _, err := g.groups().DeleteGroup(ctx, &moldauv1.DeleteGroupRequest{GroupId: args[0]}); err != nil {
						return err
					}
				}
				return tell(cmd, f.dryRun, "deleted", "delete", "group %s with %s", args[0], count(int64(len(resp.GetGroup().GetProgress())), "offset"))
			})
		},
	}
	f.add(cmd)
	return cmd
}

// completeGroups offers the ids of groups for the first argument.
func (c *cli) completeGroups(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.timeout = min(c.timeout, completionPatience)
	var ids []string
	err := c.call(cmd, func(ctx context.Context, g *stubs) error {
		resp, err := g.groups().ListGroups(ctx, &moldauv1.ListGroupsRequest{Prefix: prefix, PageSize: 1000})
		for _, group := range resp.GetGroups() {
			ids = append(ids, group.GetGroupId())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
