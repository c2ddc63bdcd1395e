package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

const produceInFlight = 4 // requests; more turns memory cold and gains nothing

type produceFlags struct {
	input          string
	keepPartitions bool
	key            string
	keySeparator   string
	headers        []string
	partition      int32
	acks           string
	compression    string
}

func (c *cli) produceCommand() *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Append the lines of stdin to a topic, a record each",
		Long: `Append the lines of stdin to a topic, a record each: the bytes up to the
newline, whatever they are. A last line without a newline is a record too.
Records without a key stay in their order within one request only, unless -p
names a partition or the topic has one.

With -i jsonl each line is a JSON object, as consume -o jsonl writes it, all
fields optional:
  key, value           bytes in base64; null or left out is null
  keyText, valueText   the same as text
  headers              [{"key": "name", "value": "base64"}], or valueText
  timestamp            RFC 3339, or milliseconds since 1970
topic and offset are read over, and so is partition without --keep-partitions.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			template, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			parse, err := f.parser(cmd)
			if err != nil {
				return err
			}
			return c.stream(cmd, func(ctx context.Context, g *stubs) error {
				begin := clock.Real().Now()
				n, size, err := g.produceLines(ctx, newInput(cmd.InOrStdin(), parse), template)
				took := clock.Real().Since(begin)
				fmt.Fprintf(cmd.ErrOrStderr(), "%d records, %d bytes to %s in %s\n", n, size, args[0], took.Round(time.Millisecond))
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.input, "input", "i", "value", "value|jsonl: what a line is")
	flags.BoolVar(&f.keepPartitions, "keep-partitions", false, "with -i jsonl: each record to the partition that its line names")
	flags.StringVarP(&f.key, "key", "k", "", "key of all records")
	flags.StringVar(&f.keySeparator, "key-separator", "", "what divides key and value in a line")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header of all records, as KEY=VALUE")
	flags.Int32VarP(&f.partition, "partition", "p", 0, "partition; without it keys decide")
	flags.StringVar(&f.acks, "acks", "all", "all|leader|none")
	flags.StringVar(&f.compression, "compression", "none", "none|gzip|snappy|lz4|zstd")
	cmd.MarkFlagsMutuallyExclusive("key", "key-separator")
	cmd.MarkFlagsMutuallyExclusive("partition", "keep-partitions")
	complete(cmd, "input", "value", "jsonl")
	complete(cmd, "acks", "all", "leader", "none")
	complete(cmd, "compression", "none", "gzip", "snappy", "lz4", "zstd")
	return cmd
}

// request is what all requests of the verb have in common.
func (f *produceFlags) request(cmd *cobra.Command, topic string) (*moldauv1.ProduceRequest, error) {
	acks, ok := moldauv1.Acks_value["ACKS_"+strings.ToUpper(f.acks)]
	if !ok || acks == 0 {
		return nil, usagef("--acks %s: not one of all, leader, none", f.acks)
	}
	compression, ok := moldauv1.Compression_value["COMPRESSION_"+strings.ToUpper(f.compression)]
	if !ok || compression == 0 {
		return nil, usagef("--compression %s: not one of none, gzip, snappy, lz4, zstd", f.compression)
	}
	req := &moldauv1.ProduceRequest{Topic: topic, Acks: moldauv1.Acks(acks), Compression: moldauv1.Compression(compression)}
	if cmd.Flags().Changed("partition") {
		req.Partition = &f.partition
	}
	return req, nil
}

// parser returns what makes a record of a line.
func (f *produceFlags) parser(cmd *cobra.Command) (parser, error) {
	var headers []*moldauv1.Header
	for _, kv := range f.headers {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, usagef("-H %s: not KEY=VALUE", kv)
		}
		headers = append(headers, &moldauv1.Header{Key: key, Value: []byte(value)})
	}
	keyed := cmd.Flags().Changed("key")
	switch {
	case f.input == "jsonl" && (keyed || f.keySeparator != ""):
		return nil, usagef("with -i jsonl the lines hold the keys")
	case f.input == "jsonl":
		return f.jsonParser(headers), nil
	case f.input != "value":
		return nil, usagef("-i %s: not one of value, jsonl", f.input)
	case f.keepPartitions:
		return nil, usagef("--keep-partitions goes with -i jsonl")
	}
	return func(line []byte) (*moldauv1.Record, *int32, error) {
		rec := &moldauv1.Record{Value: line, Headers: headers}
		if keyed {
			rec.Key = []byte(f.key)
		}
		if f.keySeparator != "" {
			key, value, ok := bytes.Cut(line, []byte(f.keySeparator))
			if !ok {
				return nil, nil, fmt.Errorf("it has no separator %q", f.keySeparator)
			}
			rec.Key, rec.Value = key, value
		}
		return rec, nil, nil
	}, nil
}

// jsonParser reads over empty lines, and puts headers behind those of a line.
func (f *produceFlags) jsonParser(headers []*moldauv1.Header) parser {
	return func(text []byte) (*moldauv1.Record, *int32, error) {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil, nil, nil
		}
		l, err := parseLine(text)
		if err != nil {
			return nil, nil, err
		}
		rec, err := l.record()
		if err != nil {
			return nil, nil, err
		}
		rec.Headers = append(rec.Headers, headers...)
		if !f.keepPartitions {
			return rec, nil, nil
		}
		if l.Partition == nil {
			return nil, nil, errors.New("it names no partition to keep")
		}
		return rec, l.Partition, nil
	}
}

// produceLines streams the input and returns how many records, and bytes of
// lines, were acknowledged. An error in the input is told once all that came
// before it is answered.
func (g *stubs) produceLines(ctx context.Context, in *input, template *moldauv1.ProduceRequest) (records, size int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	stream, err := g.produce.ProduceStream(ctx)
	if err != nil {
		return 0, 0, err
	}
	sent := make(chan *chunk, produceInFlight)
	var inputErr error
	group.Go(func() (err error) {
		defer close(sent)
		inputErr, err = sendLines(ctx, stream, in, template, sent)
		return err
	})
	group.Go(func() error {
		for c := range sent {
			if err := receiveAck(stream); err != nil {
				return err
			}
			records, size = records+int64(len(c.records)), size+c.bytes
		}
		return nil
	})
	if err = group.Wait(); err == nil {
		err = inputErr
	}
	return records, size, err
}

// sendLines sends the input until it ends or has an error, which is inputErr.
func sendLines(ctx context.Context, stream moldauv1.ProduceService_ProduceStreamClient, in *input, template *moldauv1.ProduceRequest, sent chan<- *chunk) (inputErr, err error) {
	for id, next := int64(1), in.start(ctx); ; {
		var got portion
		select {
		case got = <-next:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		for _, c := range got.chunks {
			select {
			case sent <- c:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			req := &moldauv1.ProduceRequest{Topic: template.Topic, Partition: template.Partition, Acks: template.Acks, Compression: template.Compression, Records: c.records}
			if c.partition != nil {
				req.Partition = c.partition
			}
			if err := stream.Send(&moldauv1.ProduceStreamRequest{CorrelationId: id, Request: req}); err != nil && !errors.Is(err, io.EOF) {
				return nil, err // io.EOF: the receiver learns why
			}
			id++
		}
		switch {
		case errors.Is(got.err, io.EOF):
			return nil, stream.CloseSend()
		case got.err != nil:
			return got.err, stream.CloseSend()
		}
	}
}

func receiveAck(stream moldauv1.ProduceService_ProduceStreamClient) error {
	resp, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return errcode.New(errcode.ShuttingDown, "the gateway ended the stream")
	}
	if err != nil {
		return err
	}
	if e := resp.GetError(); e != nil {
		return rangeError(e)
	}
	for _, r := range resp.GetResponse().GetResults() {
		if e := r.GetError(); e != nil {
			return rangeError(e)
		}
	}
	return nil
}

func rangeError(e *moldauv1.RangeError) error {
	reason, ok := errcode.ParseReason(e.GetReason())
	if !ok {
		reason = errcode.Internal
	}
	return errcode.New(reason, "%s", e.GetMessage())
}
