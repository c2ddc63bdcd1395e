package main

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/moldau/bench"
)

const (
	benchRecordBytes = 1 << 10
	benchBatchBytes  = 1 << 20
	benchInFlight    = 4
	benchDuration    = 5 * time.Second
	benchWarmup      = time.Second
	benchFill        = 1 << 30
	benchRate        = 1000
)

// benchFlags are those of one verb of bench.
type benchFlags struct {
	bench.Config
	acks   string
	output string
}

func (c *cli) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency of a running cluster",
		Long: `Measure throughput and latency of a running cluster through its gRPC door.

Records go to a topic that is made for the run and deleted after it, unless
--topic names one. --ceilings measures in the same run what a bare gRPC stream
and a bare file reach on this machine, and sets the figures beside them.`,
	}
	cmd.AddCommand(
		c.benchVerb("produce", "Produce as fast as it goes, or at a rate", bench.Produce),
		c.benchVerb("consume", "Read a topic from its start to its end, again and again", bench.Consume),
		c.benchVerb("latency", "Send by a fixed schedule; tell when records were acknowledged and read", bench.Latency),
	)
	return cmd
}

func (c *cli) benchVerb(name, short string, run func(context.Context, bench.Config) (*bench.Report, error)) *cobra.Command {
	f := benchFlags{Config: bench.Config{BatchBytes: benchBatchBytes, InFlight: benchInFlight, Via: bench.ViaBatches}}
	if name == "latency" {
		f.BatchBytes, f.InFlight, f.Rate, f.Via = benchRecordBytes, benchBatchBytes/benchRecordBytes, benchRate, bench.ViaRecords
	}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(c); err != nil {
				return err
			}
			report, err := run(cmd.Context(), f.Config)
			if err != nil {
				return err
			}
			return f.show(cmd, report)
		},
	}
	f.add(cmd, name)
	return cmd
}

func (f *benchFlags) add(cmd *cobra.Command, verb string) {
	flags := cmd.Flags()
	flags.StringVar(&f.Topic, "topic", "", "an existing topic; without it one is made and deleted")
	flags.Int32VarP(&f.Partitions, "partitions", "p", 1, "partitions of the topic that is made")
	flags.Int32VarP(&f.Replicas, "replication-factor", "r", 0, "replicas of each partition of the topic that is made; 0 is the cluster's default")
	flags.StringVar(&f.Durability, "durability", "durable", "of the topic that is made: durable|relaxed")
	flags.IntVar(&f.RecordBytes, "record-bytes", benchRecordBytes, "bytes of a record's value")
	flags.IntVar(&f.BatchBytes, "batch-bytes", f.BatchBytes, "bytes of values in one request, or of one frame that is read")
	flags.IntVar(&f.InFlight, "in-flight", f.InFlight, "requests of one connection without an answer")
	flags.IntVar(&f.Connections, "connections", 1, "connections, which divide the partitions among them")
	flags.DurationVar(&f.Duration, "duration", benchDuration, "how long to measure; 0 means until --bytes")
	flags.Int64Var(&f.Bytes, "bytes", 0, "how many bytes of records to measure; 0 means until --duration")
	flags.DurationVar(&f.Warmup, "warmup", benchWarmup, "how long to run before measuring")
	flags.StringVar(&f.acks, "acks", "all", "all|leader|none")
	flags.StringVar(&f.Via, "via", f.Via, "how records travel: batches (as they are, over streams), records (unary, one by one when read) or client (as programs do)")
	flags.StringSliceVar(&f.Admins, "admin", nil, "admin addresses of the servers' processes, for their CPU and memory (default admin_listen, where something answers)")
	flags.BoolVar(&f.Ceilings, "ceilings", false, "measure the ceilings of this machine in the same run")
	flags.IntVar(&f.Hops, "hops", 1, "times that records go through gRPC, for the ceilings: 2 where gateways and storage nodes are processes of their own")
	flags.StringVar(&f.Dir, "dir", ".", "folder for the ceilings' files; choose the disk of the data")
	flags.StringVarP(&f.output, "output", "o", "table", "table|json")
	if verb == "consume" {
		flags.Int64Var(&f.Fill, "fill", benchFill, "bytes of records that the topic is made with")
	} else {
		flags.Float64Var(&f.Rate, "rate", f.Rate, "records a second, by a fixed schedule; 0 means as fast as it goes")
	}
	cmd.MarkFlagsMutuallyExclusive("topic", "partitions")
	cmd.MarkFlagsMutuallyExclusive("topic", "durability")
	cmd.MarkFlagsMutuallyExclusive("topic", "replication-factor")
}

// complete fills in what the flags leave open.
func (f *benchFlags) complete(c *cli) error {
	s, err := c.settings(defaultSettings(), nil)
	if err != nil {
		return err
	}
	f.Addr = s.Addr
	acks, ok := moldauv1.Acks_value["ACKS_"+strings.ToUpper(f.acks)]
	if !ok || acks == 0 {
		return usagef("--acks %s: not one of all, leader, none", f.acks)
	}
	f.Acks = moldauv1.Acks(acks)
	if !slices.Contains([]string{"table", "json"}, f.output) {
		return usagef("-o %s: not one of table, json", f.output)
	}
	if len(f.Admins) == 0 && answers(s.AdminListen) {
		f.Admins = []string{s.AdminListen}
	}
	if err := f.Validate(); err != nil {
		return usagef("bench: %w", err)
	}
	return nil
}

// answers tells whether something listens there.
func answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (f *benchFlags) show(cmd *cobra.Command, report *bench.Report) error {
	if f.output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	table := outputFlag{format: "table"}
	return table.table(cmd.OutOrStdout(), answer{header: []string{"FIGURE", "VALUE"}, rows: report.Rows()})
}
