//go:build bench

package run

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/moldau/bench"
	"moldau.dev/services/test/bench/warm"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const (
	oneProcess     = "one"
	threeProcesses = "three"
	threeNodes     = "one, with three nodes"
	manyProcesses  = "six"
	defaultRounds  = 5
	window         = "3s"
	idleAfter      = 2 * time.Second
)

var sides = []string{oneProcess, threeProcesses}

// hops is how many times records go through gRPC to the leader's log.
var hops = map[string]int{oneProcess: 1, threeProcesses: 2, threeNodes: 1, manyProcesses: 2}

// rounds is how often everything is measured.
func rounds(t *testing.T) int {
	text := os.Getenv("MOLDAU_BENCH_ROUNDS")
	if text == "" {
		return defaultRounds
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("MOLDAU_BENCH_ROUNDS=%s is not a number of rounds", text)
	}
	return n
}

func start(t *testing.T, side string, opts ...testcluster.Option) *testcluster.Cluster {
	if side == oneProcess {
		return testcluster.Start(t, opts...)
	}
	return testcluster.StartSplit(t, opts...)
}

// TestLoads runs every load on both sides in turns.
func TestLoads(t *testing.T) {
	clusters := map[string]*testcluster.Cluster{}
	for _, side := range sides {
		clusters[side] = start(t, side)
	}
	inTurns(t, clusters, loads, sides)
}

// inTurns prints what the clusters reach, each load on each side in turns.
func inTurns(t *testing.T, clusters map[string]*testcluster.Cluster, loads []load, sides []string) {
	t.Helper()
	warm.PageCache(t)
	all := results{}
	var parts [][]bench.Ceiling
	var machine bench.Machine
	for round := range rounds(t) {
		list := measureParts(t)
		parts = append(parts, list)
		for _, l := range loads {
			order := slices.Clone(sides)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, side := range order {
				report := measure(t, clusters[side], l)
				report.Compare(list, hops[side], l.replicas)
				all.add(side, l, report)
				machine = report.Machine
				fmt.Fprintf(os.Stderr, "round %d: %s, %d partitions, %s: %.0f MB/s\n", round+1, l, l.partitions, side, report.MBPerSec)
			}
		}
	}
	fmt.Printf("\n%+v\n\n%s\n%s\n%s\n", machine, ceilings(parts), all.throughput(loads, sides), all.latency(loads, sides))
}

func measureParts(t *testing.T) []bench.Ceiling {
	t.Helper()
	list, err := bench.Ceilings(testcluster.Context(t), bench.Config{BatchBytes: 1 << 20, InFlight: 4, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// args are the row as the command line takes it.
func (l load) args() []string {
	args := []string{"bench", l.verb, "-o", "json", "--via", l.via, "--durability", l.durability,
		"--partitions", strconv.Itoa(l.partitions), "--connections", strconv.Itoa(l.connections), "-r", strconv.Itoa(l.replicas)}
	if l.small {
		args = append(args, "--batch-bytes", "65536", "--in-flight", "16", "--warmup", "10s", "--timeout", "2m")
	}
	if l.verb == "consume" {
		args = append(args, "--fill", strconv.Itoa(fillBytes))
	}
	return args
}

const fillBytes = 512 << 20

var adminListens = regexp.MustCompile(`msg="admin listens" addr=(\S+)`)

func measure(t *testing.T, c *testcluster.Cluster, l load) *bench.Report {
	t.Helper()
	args := append(l.args(), "--duration", window)
	for _, said := range adminListens.FindAllStringSubmatch(c.Log(), -1) {
		args = append(args, "--admin", said[1])
	}
	if err := exec.Command("sync").Run(); err != nil { // what was written before is not this run's burden
		t.Fatal(err)
	}
	result := c.Command(t, strings.NewReader(""), args...)
	var report bench.Report
	if err := json.Unmarshal(result.Stdout, &report); err != nil || result.Code != 0 {
		t.Fatalf("%v: code %d, %s, %v", args, result.Code, result.Stderr, err)
	}
	if report.Servers == nil {
		t.Fatalf("the servers did not tell what they used: %v", report.Notes)
	}
	return &report
}

// TestStart measures the time from the start of the processes to the first
// acknowledgement of a durable record, to a client that connects then.
func TestStart(t *testing.T) {
	testcluster.Binary(t)
	clk := clock.Real()
	figures := map[string]map[string][]float64{}
	note := func(side, what string, v float64) {
		if figures[side] == nil {
			figures[side] = map[string][]float64{}
		}
		figures[side][what] = append(figures[side][what], v)
	}
	const ready, empty, again, killed, idle, opened = "ready, empty ms", "first ack, empty ms", "first ack, restarted ms", "first ack, after kill -9 ms", "resident idle MiB", "resident after it MiB"
	for range rounds(t) {
		for _, side := range sides {
			begin := clk.Now()
			c := start(t, side)
			note(side, ready, millis(clk.Since(begin)))
			c.CreateTopic(t, "first", 1, nil)
			acknowledge(t, c)
			note(side, empty, millis(clk.Since(begin)))
			<-clk.NewTimer(idleAfter).C()
			note(side, idle, float64(c.ResidentBytes(t))/(1<<20))
			c.Stop(t)
			begin = clk.Now()
			c.Restart(t)
			acknowledge(t, c)
			note(side, again, millis(clk.Since(begin)))
			c.Kill()
			begin = clk.Now()
			c.Restart(t)
			acknowledge(t, c)
			note(side, killed, millis(clk.Since(begin)))
			note(side, opened, float64(c.ResidentBytes(t))/(1<<20))
			c.Kill()
		}
	}
	columns := []string{ready, empty, again, killed, idle, opened}
	out := newTable(append([]string{"processes"}, columns...)...)
	for _, side := range sides {
		row := []string{side}
		for _, what := range columns {
			row = append(row, spreadOf(figures[side][what]).String())
		}
		out.row(row...)
	}
	fmt.Printf("\n%s\n", out.b.String())
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func acknowledge(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	resp, err := c.Produce(t).Produce(testcluster.Context(t), &pb.ProduceRequest{Topic: "first", Records: []*pb.Record{{Value: []byte("x")}}})
	if err != nil || len(resp.GetResults()) != 1 || resp.GetResults()[0].GetError() != nil {
		t.Fatalf("produce: %v, %v", resp, err)
	}
}
