// Package bench loads a cluster through its public gRPC API and measures what
// comes of it: throughput, latency, and what both sides paid in CPU and
// memory. It stands on gatewayclient and knows nothing of services.
//
// Invariant: a figure is only reported for what was answered without an error;
// the first error ends the run.
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

// Ways in which records travel.
const (
	// ViaBatches sends ready-made Kafka v2 batches over ProduceStream and reads
	// batches as stored, so that the client costs little.
	ViaBatches = "batches"
	// ViaRecords sends records by unary Produce and reads records.
	ViaRecords = "records"
	// ViaClient produces as programs do, with gatewayclient's Producer.
	ViaClient = "client"
)

const (
	maxConnections = 64
	maxInFlight    = 10_000
	stampBytes     = 8 // of a record's value; see payload
)

// Config says what to load the cluster with.
type Config struct {
	Addr        string
	Topic       string // empty: a topic of our own, deleted at the end
	Partitions  int32  // of our own topic
	Replicas    int32  // of each of them; 0: what the cluster makes of it
	Durability  string // of our own topic: durable or relaxed
	RecordBytes int    // of a value
	BatchBytes  int    // of values in one request
	InFlight    int    // requests of one connection without an answer
	Connections int
	Duration    time.Duration // after the warm-up; 0: until Bytes
	Bytes       int64         // of values after the warm-up; 0: until Duration
	Warmup      time.Duration
	Fill        int64   // bytes that a consume's own topic is filled with
	Rate        float64 // records a second of all connections; 0: as fast as it goes
	Acks        moldauv1.Acks
	Via         string
	Admins      []string // admin addresses of the servers' processes
	Ceilings    bool
	Hops        int    // through gRPC that records take, for the ceilings: 1 or 2
	Dir         string // of the ceilings' files
}

// Validate says what cannot be run.
func (c Config) Validate() error {
	switch {
	case c.Partitions < 1:
		return fmt.Errorf("%d partitions", c.Partitions)
	case c.Replicas < 0:
		return fmt.Errorf("%d replicas", c.Replicas)
	case c.Durability != "durable" && c.Durability != "relaxed":
		return fmt.Errorf("durability %q is neither durable nor relaxed", c.Durability)
	case c.RecordBytes < stampBytes:
		return fmt.Errorf("records of %d bytes, at least %d are needed", c.RecordBytes, stampBytes)
	case c.BatchBytes < 1 || c.BatchBytes > 16<<20:
		return fmt.Errorf("batches of %d bytes, 1 to 16 MiB are possible", c.BatchBytes)
	case c.InFlight < 1 || c.InFlight > maxInFlight:
		return fmt.Errorf("%d in flight, 1 to %d are possible", c.InFlight, maxInFlight)
	case c.Connections < 1 || c.Connections > maxConnections:
		return fmt.Errorf("%d connections, 1 to %d are possible", c.Connections, maxConnections)
	case c.Ceilings && (c.Hops < 1 || c.Hops > 2):
		return fmt.Errorf("%d gRPC hops, 1 or 2 are possible", c.Hops)
	case c.Duration < 0 || c.Bytes < 0 || c.Warmup < 0 || !(c.Rate >= 0):
		return errors.New("a negative duration, size or rate")
	case c.Duration == 0 && c.Bytes == 0:
		return errors.New("neither a duration nor a total of bytes")
	case !slices.Contains([]string{ViaBatches, ViaRecords, ViaClient}, c.Via):
		return fmt.Errorf("%q is none of %s, %s, %s", c.Via, ViaBatches, ViaRecords, ViaClient)
	}
	return nil
}

// recordsPerBatch is how many records one request carries.
func (c Config) recordsPerBatch() int { return max(1, c.BatchBytes/c.RecordBytes) }

// run is one workload under way.
type run struct {
	cfg        Config
	clk        clock.Clock
	topic      string
	partitions int32
	clients    []*gatewayclient.Client
	report     *Report
}

// on runs a workload on a topic, beside the ceilings where they are wanted.
func on(ctx context.Context, verb string, cfg Config, work func(context.Context, *run) error) (_ *Report, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, clk: clock.Real(), report: newReport(verb, cfg)}
	defer func() { err = errors.Join(err, r.hangUp()) }()
	if err := r.dial(); err != nil {
		return nil, err
	}
	drop, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	ceilings := newCeilings(cfg, r.clk)
	if cfg.Ceilings {
		if err := ceilings.pass(ctx); err != nil { // before and after, as machines drift
			return nil, err
		}
	}
	if err := work(ctx, r); err != nil {
		return nil, err
	}
	if cfg.Ceilings {
		if err := ceilings.pass(ctx); err != nil {
			return nil, err
		}
		r.report.Compare(ceilings.results(), cfg.Hops, int(cfg.Replicas))
	}
	return r.report, nil
}

func (r *run) dial() error {
	for range r.cfg.Connections {
		c, err := gatewayclient.Dial(r.cfg.Addr, gatewayclient.Options{})
		if err != nil {
			return err
		}
		r.clients = append(r.clients, c)
	}
	return nil
}

func (r *run) hangUp() error {
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

const topicTimeout = 30 * time.Second

// open finds the topic, or makes one that the returned function deletes.
func (r *run) open(ctx context.Context) (drop func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	topics := r.clients[0].Topics()
	if r.cfg.Topic != "" {
		resp, err := topics.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: r.cfg.Topic})
		if err != nil {
			return nil, err
		}
		r.topic, r.partitions = r.cfg.Topic, resp.GetTopic().GetPartitionCount()
		return func() error { return nil }, nil
	}
	r.topic, r.partitions = "moldau-bench-"+strings.ToLower(rand.Text()), r.cfg.Partitions
	const batchOverhead = 1 << 20 // of headers and lengths, at the most
	_, err = topics.CreateTopic(ctx, &moldauv1.CreateTopicRequest{
		Name: r.topic, PartitionCount: r.partitions, ReplicationFactor: r.cfg.Replicas,
		Configs: map[string]string{
			"moldau.durability": r.cfg.Durability,
			"max.message.bytes": fmt.Sprint(r.cfg.BatchBytes + batchOverhead),
		},
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), topicTimeout)
		defer cancel()
		_, err := topics.DeleteTopic(ctx, &moldauv1.DeleteTopicRequest{Name: r.topic})
		return err
	}, nil
}

// share returns the partitions of one connection: its part of them, or one
// that it shares where there are fewer than connections.
func share(partitions int32, connection, connections int) []int32 {
	var mine []int32
	for p := int32(connection); p < partitions; p += int32(connections) {
		mine = append(mine, p)
	}
	if len(mine) == 0 {
		mine = []int32{int32(connection) % partitions}
	}
	return mine
}
