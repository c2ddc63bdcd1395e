package main

import (
	"bufio"
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

const (
	produceBatchBytes   = 512 << 10 // of one request
	produceBatchRecords = 10_000
	produceInFlight     = 4 // requests; more turns memory cold and gains nothing
	maxLineBytes        = 15 << 20
)

type produceFlags struct {
	key          string
	keySeparator string
	headers      []string
	partition    int32
	acks         string
	compression  string
}

func (c *cli) produceCommand() *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Append the lines of stdin to a topic, a record each",
		Long: `Append the lines of stdin to a topic, a record each: the bytes up to the
newline, whatever they are. A last line without a newline is a record too.
Records without a key stay in their order within one request only, unless -p
names a partition or the topic has one.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			template, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			makeRecord, err := f.records(cmd)
			if err != nil {
				return err
			}
			return c.stream(cmd, func(ctx context.Context, g *stubs) error {
				begin := clock.Real().Now()
				n, size, err := g.produceLines(ctx, cmd.InOrStdin(), template, makeRecord)
				took := clock.Real().Since(begin)
				fmt.Fprintf(cmd.ErrOrStderr(), "%d records, %d bytes to %s in %s\n", n, size, args[0], took.Round(time.Millisecond))
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.key, "key", "k", "", "key of all records")
	flags.StringVar(&f.keySeparator, "key-separator", "", "what divides key and value in a line")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header of all records, as KEY=VALUE")
	flags.Int32VarP(&f.partition, "partition", "p", 0, "partition; without it keys decide")
	flags.StringVar(&f.acks, "acks", "all", "all|leader|none")
	flags.StringVar(&f.compression, "compression", "none", "none|gzip|snappy|lz4|zstd")
	cmd.MarkFlagsMutuallyExclusive("key", "key-separator")
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

// records returns what makes a record of a line.
func (f *produceFlags) records(cmd *cobra.Command) (func(line []byte) (*moldauv1.Record, error), error) {
	var headers []*moldauv1.Header
	for _, kv := range f.headers {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, usagef("-H %s: not KEY=VALUE", kv)
		}
		headers = append(headers, &moldauv1.Header{Key: key, Value: []byte(value)})
	}
	keyed := cmd.Flags().Changed("key")
	return func(line []byte) (*moldauv1.Record, error) {
		rec := &moldauv1.Record{Value: line, Headers: headers}
		if keyed {
			rec.Key = []byte(f.key)
		}
		if f.keySeparator != "" {
			key, value, ok := bytes.Cut(line, []byte(f.keySeparator))
			if !ok {
				return nil, usagef("a line has no separator %q", f.keySeparator)
			}
			rec.Key, rec.Value = key, value
		}
		return rec, nil
	}, nil
}

// produceLines streams the lines of in and returns how many records, and bytes
// of lines, were acknowledged.
func (g *stubs) produceLines(ctx context.Context, in io.Reader, template *moldauv1.ProduceRequest, makeRecord func([]byte) (*moldauv1.Record, error)) (records, size int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	stream, err := g.produce.ProduceStream(ctx)
	if err != nil {
		return 0, 0, err
	}
	sent := make(chan chunk, produceInFlight)
	group.Go(func() error {
		defer close(sent)
		return sendLines(ctx, stream, in, template, makeRecord, sent)
	})
	group.Go(func() error {
		for c := range sent {
			if err := receiveAck(stream); err != nil {
				return err
			}
			records, size = records+c.records, size+c.bytes
		}
		return nil
	})
	err = group.Wait()
	return records, size, err
}

// chunk is what one request carries.
type chunk struct{ records, bytes int64 }

func sendLines(ctx context.Context, stream moldauv1.ProduceService_ProduceStreamClient, in io.Reader, template *moldauv1.ProduceRequest, makeRecord func([]byte) (*moldauv1.Record, error), sent chan<- chunk) error {
	reader := bufio.NewReaderSize(in, 64<<10)
	for id := int64(1); ; id++ {
		records, size, readErr := readRecords(reader, makeRecord)
		if len(records) > 0 {
			select {
			case sent <- chunk{int64(len(records)), size}:
			case <-ctx.Done():
				return ctx.Err()
			}
			req := &moldauv1.ProduceRequest{Topic: template.Topic, Partition: template.Partition, Acks: template.Acks, Compression: template.Compression, Records: records}
			if err := stream.Send(&moldauv1.ProduceStreamRequest{CorrelationId: id, Request: req}); err != nil && !errors.Is(err, io.EOF) {
				return err // io.EOF: the receiver learns why
			}
		}
		if errors.Is(readErr, io.EOF) {
			return stream.CloseSend()
		}
		if readErr != nil {
			return readErr
		}
	}
}

// readRecords reads a request's worth of lines. It does not wait for a full
// request while the input has nothing to read.
func readRecords(r *bufio.Reader, makeRecord func([]byte) (*moldauv1.Record, error)) (records []*moldauv1.Record, size int64, err error) {
	for size < produceBatchBytes && len(records) < produceBatchRecords {
		line, err := readLine(r)
		if err != nil && len(line) == 0 {
			return records, size, err
		}
		rec, bad := makeRecord(bytes.TrimSuffix(line, []byte("\n")))
		if bad != nil {
			return records, size, bad
		}
		records, size = append(records, rec), size+int64(len(line))
		if err != nil {
			return records, size, err
		}
		if r.Buffered() == 0 {
			return records, size, nil
		}
	}
	return records, size, nil
}

// readLine returns a copy of the next line with its newline, if it has one.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > maxLineBytes {
			return nil, hinted("cut the input into shorter lines", "a line is longer than %d bytes", maxLineBytes)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
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
