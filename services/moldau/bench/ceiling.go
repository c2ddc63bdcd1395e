package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.dev/services/clock"
)

// Ceiling is what one part of the path reaches when it does nothing else, over
// the passes of this run.
type Ceiling struct {
	Name     string  `json:"name"`
	MBPerSec float64 `json:"mb_per_second"` // median
	Least    float64 `json:"least_mb_per_second"`
	Most     float64 `json:"most_mb_per_second"`
	CPUPerGB float64 `json:"cpu_seconds_per_gb"` // median; of both ends
	Passes   int     `json:"passes"`
}

// String shows the medians.
func (c Ceiling) String() string {
	return fmt.Sprintf("%s MB/s (%s–%s), %s CPU-s/GB", number(c.MBPerSec), number(c.Least), number(c.Most), number(c.CPUPerGB))
}

// Names of the parts.
const (
	ceilingGRPC       = "gRPC stream"
	ceilingWriteLarge = "write 1 MiB"
	ceilingWriteSmall = "write 16 KiB"
	ceilingSyncLarge  = "write 1 MiB + fdatasync"
	ceilingSyncSmall  = "write 16 KiB + fdatasync"
	ceilingRead       = "read 1 MiB from page cache"
)

const (
	passTime    = 300 * time.Millisecond
	passes      = 3 // before the run, and again after it
	largeWrite  = 1 << 20
	smallWrite  = 16 << 10
	fileBytes   = 256 << 20
	smallIsUpTo = 128 << 10
)

// sample is one pass over one part.
type sample struct{ mbPerSec, cpuPerGB float64 }

// ceilings are measured beside a run; nothing is where they are not wanted.
type ceilings struct {
	cfg     Config
	clk     clock.Clock
	samples map[string][]sample
}

func newCeilings(cfg Config, clk clock.Clock) *ceilings {
	return &ceilings{cfg: cfg, clk: clk, samples: map[string][]sample{}}
}

// Ceilings measures the parts once, for runs that are told apart from them.
func Ceilings(ctx context.Context, cfg Config) ([]Ceiling, error) {
	c := newCeilings(cfg, clock.Real())
	err := c.pass(ctx)
	return c.results(), err
}

var parts = []string{ceilingGRPC, ceilingWriteLarge, ceilingWriteSmall, ceilingSyncLarge, ceilingSyncSmall, ceilingRead}

// pass measures every part a few times in turn.
func (c *ceilings) pass(ctx context.Context) (err error) {
	grpc, err := newRawStream(ctx, c.cfg)
	if err != nil {
		return fmt.Errorf("ceilings: %w", err)
	}
	defer func() { err = errors.Join(err, grpc.close()) }()
	var files [2]*rawFile // to write and to read
	for i := range files {
		if files[i], err = newRawFile(c.cfg.Dir); err != nil {
			return fmt.Errorf("ceilings: %w", err)
		}
		defer func() { err = errors.Join(err, files[i].close()) }()
	}
	steps := map[string]func() (int, error){
		ceilingGRPC:       grpc.step,
		ceilingWriteLarge: files[0].writer(largeWrite, false),
		ceilingWriteSmall: files[0].writer(smallWrite, false),
		ceilingSyncLarge:  files[0].writer(largeWrite, true),
		ceilingSyncSmall:  files[0].writer(smallWrite, true),
		ceilingRead:       files[1].reader(),
	}
	for range passes {
		for _, name := range parts {
			s, err := c.measure(ctx, steps[name])
			if err != nil {
				return fmt.Errorf("ceiling %s: %w", name, err)
			}
			c.samples[name] = append(c.samples[name], s)
		}
	}
	return nil
}

// measure repeats a step for a while.
func (c *ceilings) measure(ctx context.Context, step func() (int, error)) (sample, error) {
	if _, err := step(); err != nil { // the first one is cold
		return sample{}, err
	}
	begin, before := c.clk.Now(), ownSpent()
	var bytes int64
	for ctx.Err() == nil && c.clk.Since(begin) < passTime {
		n, err := step()
		if err != nil {
			return sample{}, err
		}
		bytes += int64(n)
	}
	took, cpu := c.clk.Since(begin).Seconds(), ownSpent().cpu-before.cpu
	return sample{float64(bytes) / mega / took, cpu / (float64(bytes) / giga)}, context.Cause(ctx)
}

// results are the parts in the order of the list.
func (c *ceilings) results() (list []Ceiling) {
	for _, name := range parts {
		if len(c.samples[name]) > 0 {
			list = append(list, sum(name, c.samples[name]))
		}
	}
	return list
}

func sum(name string, samples []sample) Ceiling {
	var rates, costs []float64
	for _, s := range samples {
		rates, costs = append(rates, s.mbPerSec), append(costs, s.cpuPerGB)
	}
	return Ceiling{name, median(rates), slices.Min(rates), slices.Max(rates), median(costs), len(samples)}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// Against sets a run beside the parts of its path.
type Against struct {
	Parts []string `json:"parts"`
	Hops  int      `json:"grpc_hops"`
	// Copies is how many replicas write the records.
	Copies int `json:"copies"`
	// Slowest is the slowest part, and MBPerSec the run's share of it.
	Slowest  string  `json:"slowest_part"`
	MBPerSec float64 `json:"mb_per_second_ratio"`
	// CPUPerGB is what both sides used as a multiple of what the parts use
	// together; 0 where the servers did not tell.
	CPUPerGB float64 `json:"cpu_seconds_per_gb_ratio,omitempty"`
}

func (a *Against) rows() [][]string {
	rows := [][]string{{"of the slowest part", fmt.Sprintf("%s × %s", number(a.MBPerSec), a.Slowest)}}
	if a.CPUPerGB > 0 {
		rows = append(rows, []string{"CPU of its parts", fmt.Sprintf("%s × (%s), with %d gRPC hops and %d copies", number(a.CPUPerGB), strings.Join(a.Parts, " + "), a.Hops, a.Copies)})
	}
	return rows
}

// path names the parts that a run is made of: gRPC and one pass over the file.
func path(verb string, l Load) []string {
	small := l.BatchBytes <= smallIsUpTo
	switch {
	case verb == "consume":
		return []string{ceilingGRPC, ceilingRead}
	case l.Durability == "durable" && small:
		return []string{ceilingGRPC, ceilingSyncSmall}
	case l.Durability == "durable":
		return []string{ceilingGRPC, ceilingSyncLarge}
	case small:
		return []string{ceilingGRPC, ceilingWriteSmall}
	default:
		return []string{ceilingGRPC, ceilingWriteLarge}
	}
}

// Compare sets the report beside ceilings; hops is how many times the records
// go through gRPC: once to a process that holds all roles, twice to one that
// holds the gateway only. What is produced goes once more to each replica beside
// the leader, and to a file at each.
func (r *Report) Compare(list []Ceiling, hops, replicas int) {
	copies := 1
	if r.Verb != "consume" {
		copies = max(copies, replicas)
	}
	hops += copies - 1
	a := &Against{Hops: hops, Copies: copies}
	var slowest, cpu float64
	for _, c := range list {
		times := copies
		switch {
		case !slices.Contains(path(r.Verb, r.Load), c.Name):
			continue
		case c.Name == ceilingGRPC:
			times = hops
		}
		a.Parts = append(a.Parts, c.Name)
		cpu += float64(times) * c.CPUPerGB
		if a.Slowest == "" || c.MBPerSec < slowest {
			a.Slowest, slowest = c.Name, c.MBPerSec
		}
	}
	if slowest > 0 {
		a.MBPerSec = r.MBPerSec / slowest
	}
	if r.Servers != nil && cpu > 0 {
		a.CPUPerGB = (r.Client.CPUPerGB + r.Servers.CPUPerGB) / cpu
	}
	r.Parts, r.Against = list, a
}
