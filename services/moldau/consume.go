package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

const (
	outputBufferBytes = 256 << 10
	readChunkBytes    = 1 << 20
)

type consumeFlags struct {
	group      string
	from       string
	records    int64
	untilEnd   bool
	committed  bool
	partitions []int32
	output     string
	text       bool
	template   string
}

func (c *cli) consumeCommand() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC…",
		Short: "Write the records of topics to stdout",
		Long: `Write the records of topics to stdout, each value followed by a newline.

A file that went through produce comes out byte for byte, whatever its bytes,
save that its last line gets a newline if it had none. Order holds within a
partition.

With -o jsonl each record is a line of JSON that produce -i jsonl reads back.

With --group the topics are shared among the members of the group, Kafka's
consumers among them, and reading goes on where the group has come to: what was
written to stdout is committed, and leaving (Ctrl-C, -n, --until-end) gives the
share to the others at once. A record comes again only where this ends before it
could commit.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeTopics(many),
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := f.printer()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("group") {
				req, err := f.groupRequest(args)
				if err != nil {
					return err
				}
				return c.stream(cmd, func(ctx context.Context, g *stubs) error {
					return g.consumeShare(ctx, req, &f, cmd.OutOrStdout(), show)
				})
			}
			req, err := f.request(args)
			if err != nil {
				return err
			}
			return c.stream(cmd, func(ctx context.Context, g *stubs) error {
				return g.consume(ctx, req, cmd.OutOrStdout(), show)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.group, "group", "g", "", "read as a member of this group; --from then says where a group begins that has not read a partition, start where it says nothing")
	flags.StringVar(&f.from, "from", "", "start, end, OFFSET, -N (N before the end) or @TIME (RFC 3339, epoch ms, or @-1h); the default is end, and start with --until-end")
	flags.Int64VarP(&f.records, "records", "n", 0, "stop after so many records; 0 means never")
	flags.BoolVar(&f.untilEnd, "until-end", false, "stop at the end that the topics have now")
	flags.BoolVar(&f.committed, "read-committed", false, "only what no transaction can take back: nothing open, nothing aborted")
	flags.Int32SliceVarP(&f.partitions, "partition", "p", nil, "only these partitions")
	flags.StringVarP(&f.output, "output", "o", "value", "value|jsonl|template")
	flags.BoolVar(&f.text, "text", false, "with -o jsonl: bytes that are text as text, in keyText and valueText, and only others as base64")
	flags.StringVarP(&f.template, "format", "f", "", `template, as kcat's: key %k, value %v, their lengths %K %S, offset %o, partition %p, topic %t, ms since 1970 %T, headers %h; such as '%o %v\n'`)
	complete(cmd, "output", "value", "jsonl", "template")
	_ = cmd.RegisterFlagCompletionFunc("group", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return c.completeGroups(cmd, nil, prefix)
	})
	complete(cmd, "from", "start", "end", "@-1h", "-10")
	return cmd
}

func (f *consumeFlags) request(topics []string) (*moldauv1.ReadRequest, error) {
	from := f.from
	switch {
	case from != "":
	case f.untilEnd:
		from = "start"
	default:
		from = "end"
	}
	position, err := parsePosition(from, clock.Real().Now())
	if err != nil {
		return nil, err
	}
	if f.records < 0 {
		return nil, usagef("-n %d: negative", f.records)
	}
	req := &moldauv1.ReadRequest{MaxBytes: readChunkBytes, MaxRecords: f.records, UntilEnd: f.untilEnd, ReadCommitted: f.committed}
	for _, name := range topics {
		topic := &moldauv1.ReadTopic{Topic: name, Position: position}
		for _, p := range f.partitions {
			topic.Partitions = append(topic.Partitions, &moldauv1.ReadPartition{Partition: p})
		}
		req.Topics = append(req.Topics, topic)
	}
	return req, nil
}

func (f *consumeFlags) printer() (printer, error) {
	switch {
	case f.text && f.output != "jsonl":
		return nil, usagef("--text goes with -o jsonl")
	case f.template != "" && f.output == "jsonl":
		return nil, usagef("-f and -o jsonl exclude each other")
	case f.template != "":
		return templatePrinter(f.template)
	case f.output == "value":
		return printValue, nil
	case f.output == "jsonl":
		return jsonPrinter(f.text), nil
	case f.output == "template":
		return nil, usagef("-o template needs -f TEMPLATE")
	default:
		return nil, usagef("-o %s: not one of value, jsonl, template", f.output)
	}
}

// consume writes records until the stream ends. When the server asks to come
// again, it does, where the server said.
func (g *stubs) consume(ctx context.Context, req *moldauv1.ReadRequest, out io.Writer, show printer) error {
	w := bufio.NewWriterSize(out, outputBufferBytes)
	for req != nil {
		stream, err := g.read.Read(ctx, req)
		if err != nil {
			return err
		}
		req, err = drain(stream, w, show)
		if interrupted(err) && ctx.Err() != nil {
			return w.Flush()
		}
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
	}
	return w.Flush()
}

// drain returns nil, nil at the end of the stream, and what to ask next where
// the server wants the reader to come again.
func drain(stream moldauv1.ReadService_ReadClient, w *bufio.Writer, show printer) (*moldauv1.ReadRequest, error) {
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if r := frame.GetReconnect(); r != nil {
			return r.GetResume(), nil
		}
		if err := printRecords(w, frame.GetRecords(), show); err != nil {
			return nil, err
		}
	}
}

func printRecords(w *bufio.Writer, r *moldauv1.ReadRecords, show printer) error {
	for _, rec := range r.GetRecords() {
		if err := show(w, place{r.GetTopic(), r.GetPartition(), rec}); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
	}
	if len(r.GetRecords()) == 0 {
		return nil
	}
	return w.Flush() // a reader at a pipe or a terminal sees each frame at once
}
