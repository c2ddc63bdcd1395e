// Command wire loads any broker that speaks Kafka's protocol with ready-made
// frames, and parses no more of the answers than their errors and offsets, so
// that what is measured is the broker. It is the same on both sides of a
// comparison with Apache Kafka.
//
//	go run ./services/test/bench/wire -broker 127.0.0.1:9092 -pids 123,124 produce
//	go run ./services/test/bench/wire -broker 127.0.0.1:9092 fetch
//	go run ./services/test/bench/wire -broker 127.0.0.1:9092 -rate 1000 latency
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// config is what a run does.
type config struct {
	broker      string
	topic       string
	partitions  int
	replicas    int
	connections int
	inFlight    int // requests of one connection without an answer
	batchBytes  int
	recordBytes int
	idempotent  bool
	durability  string // moldau.durability of the topic that is made; empty: not said
	acks        int
	rate        float64 // records a second, of latency
	fetchBytes  int
	warmup      time.Duration
	duration    time.Duration
	pids        []string
}

// report is what came of it. MB is 1e6 bytes of record values.
type report struct {
	Load       string             `json:"load"`
	Seconds    float64            `json:"seconds"`
	Records    int64              `json:"records"`
	MBPerSec   float64            `json:"mb_per_sec"`
	AckMs      map[string]float64 `json:"ack_ms,omitempty"`
	LateMs     map[string]float64 `json:"loader_late_ms,omitempty"` // how late the loader itself was
	ServerCPU  float64            `json:"server_cpu_seconds_per_gb,omitempty"`
	ClientCPU  float64            `json:"client_cpu_seconds_per_gb,omitempty"`
	ServerMiB  float64            `json:"server_resident_mib,omitempty"`
	ServerCPUs float64            `json:"server_cpu_seconds,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var cfg config
	flags := flag.NewFlagSet("wire", flag.ContinueOnError)
	flags.StringVar(&cfg.broker, "broker", "127.0.0.1:9092", "any broker")
	flags.StringVar(&cfg.topic, "topic", "wire", "topic, made where it is missing")
	flags.IntVar(&cfg.partitions, "partitions", 1, "partitions of the topic")
	flags.IntVar(&cfg.replicas, "replicas", 1, "replicas of the topic that is made")
	flags.IntVar(&cfg.connections, "connections", 1, "connections, which divide the partitions among them")
	flags.IntVar(&cfg.inFlight, "in-flight", 4, "requests of one connection without an answer")
	flags.IntVar(&cfg.batchBytes, "batch-bytes", 1<<20, "bytes of record values in a batch")
	flags.IntVar(&cfg.recordBytes, "record-bytes", 1024, "bytes of a record's value")
	flags.BoolVar(&cfg.idempotent, "idempotent", false, "give batches a producer id and sequences")
	flags.StringVar(&cfg.durability, "durability", "", "moldau.durability of the topic that is made")
	flags.IntVar(&cfg.acks, "acks", -1, "acks of Produce")
	flags.Float64Var(&cfg.rate, "rate", 1000, "records a second, of latency")
	flags.IntVar(&cfg.fetchBytes, "fetch-bytes", 8<<20, "max_bytes of Fetch")
	flags.DurationVar(&cfg.warmup, "warmup", time.Second, "how long to run before measuring")
	flags.DurationVar(&cfg.duration, "duration", 5*time.Second, "how long to measure")
	pids := flags.String("pids", "", "processes of the broker, comma-separated, for their CPU and memory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pids != "" {
		cfg.pids = strings.Split(*pids, ",")
	}
	loads := map[string]func(context.Context, config) (*report, error){"produce": produce, "fetch": fetch, "latency": latency}
	load, known := loads[flags.Arg(0)]
	if !known {
		return fmt.Errorf("load %q: want produce, fetch or latency", flags.Arg(0))
	}
	ctx := context.Background()
	if err := prepare(ctx, cfg); err != nil {
		return err
	}
	rep, err := load(ctx, cfg)
	if err != nil {
		return err
	}
	rep.Load = flags.Arg(0)
	return json.NewEncoder(os.Stdout).Encode(rep)
}
