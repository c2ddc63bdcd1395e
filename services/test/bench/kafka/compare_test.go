//go:build benchkafka

package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"moldau.dev/services/clock"
	"moldau.dev/services/test/apachekafka"
	"moldau.dev/services/test/bench/warm"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// load is one row. Topics are made by the first round that uses them.
type load struct {
	name  string
	verb  string
	args  []string
	alike bool // durability says nothing
}

var loads = []load{
	{name: "produce, 1 MiB batches, 1 connection", verb: "produce"},
	{name: "produce, 1 MiB batches, 4 connections, 4 partitions", verb: "produce", args: []string{"-connections", "4", "-partitions", "4"}},
	{name: "produce, 16 KiB batches of 100 B, 64 in flight", verb: "produce", args: []string{"-batch-bytes", "16384", "-record-bytes", "100", "-in-flight", "64"}},
	{name: "produce, 16 KiB batches over 1,000 partitions", verb: "produce", args: []string{"-batch-bytes", "16384", "-partitions", "1000", "-in-flight", "64"}},
	{name: "fetch, 8 MiB answers", verb: "fetch", args: []string{}, alike: true},
	{name: "ack at 1,000 records/s", verb: "latency", args: []string{"-rate", "1000"}},
}

// side is a system under test.
type side struct {
	name, addr string
	pids       []string
	durability string
}

// result is what wire tells.
type result struct {
	MB     float64            `json:"mb_per_sec"`
	CPU    float64            `json:"server_cpu_seconds_per_gb"`
	MiB    float64            `json:"server_resident_mib"`
	Ack    map[string]float64 `json:"ack_ms"`
	Broken string             `json:"-"`
}

func rounds(t *testing.T) int {
	text := os.Getenv("MOLDAU_BENCH_ROUNDS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("MOLDAU_BENCH_ROUNDS=%s is not a number of rounds", text)
	}
	return n
}

func TestOneBroker(t *testing.T) { compare(t, 1, 1024) }

func TestThreeBrokers(t *testing.T) { compare(t, 3, 768) }

func compare(t *testing.T, nodes, heapMiB int) {
	wire := filepath.Join(t.TempDir(), "wire")
	if out, err := exec.Command("go", "build", "-o", wire, "moldau.dev/services/test/bench/wire").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testcluster.Binary(t)
	clk := clock.Real()
	began := clk.Now()
	ours := testcluster.Start(t, testcluster.WithNodes(nodes))
	served := clk.Since(began)
	began = clk.Now()
	theirs := apachekafka.Start(t, nodes, heapMiB)
	fmt.Printf("\n%d nodes serve after: moldau %s, Apache Kafka %s\n", nodes, served.Round(time.Millisecond), clk.Since(began).Round(time.Millisecond))
	pid := texts([]int{ours.Member(t, testcluster.Member{Role: "up"}).Pid()})
	<-clk.NewTimer(idleAfter).C()
	fmt.Printf("resident when idle: moldau %.0f MiB, Apache Kafka %.0f MiB\n", residentMiB(t, pid), residentMiB(t, texts(theirs.PIDs)))
	sides := []side{
		{"moldau relaxed", ours.KafkaAddr(), pid, "relaxed"},
		{"moldau durable", ours.KafkaAddr(), pid, "durable"},
		{"Apache Kafka", theirs.Addr, texts(theirs.PIDs), ""},
	}
	warm.PageCache(t)
	found := map[string]map[string][]result{}
	for round := range rounds(t) {
		for i, l := range loads {
			for k := range sides {
				s := sides[(k+round)%len(sides)]
				if l.alike && s.durability == "durable" {
					continue
				}
				args := append([]string{"-broker", s.addr, "-pids", strings.Join(s.pids, ","), "-replicas", strconv.Itoa(nodes), "-warmup", "2s", "-duration", "3s"}, l.args...)
				if s.durability != "" {
					args = append(args, "-durability", s.durability)
				}
				topic := fmt.Sprintf("load-%d-%s", i, s.durability)
				if l.verb == "fetch" {
					topic = fmt.Sprintf("load-0-%s", s.durability)
				}
				r := run(t, wire, append(args, "-topic", topic, l.verb)...)
				if found[l.name] == nil {
					found[l.name] = map[string][]result{}
				}
				found[l.name][s.name] = append(found[l.name][s.name], r)
				fmt.Fprintf(os.Stderr, "round %d: %s, %s: %.0f MB/s %s\n", round+1, l.name, s.name, r.MB, r.Broken)
			}
		}
	}
	table(sides, found)
}

// idleAfter is how long after its start a broker has nothing left to do.
const idleAfter = 10 * time.Second

func residentMiB(t *testing.T, pids []string) (mib float64) {
	t.Helper()
	for _, pid := range pids {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(status), "VmRSS:")
		kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		mib += kib / 1024
	}
	return mib
}

func texts(numbers []int) (out []string) {
	for _, n := range numbers {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// run runs one load. One that fails is a finding, not the end.
func run(t *testing.T, wire string, args ...string) (r result) {
	t.Helper()
	_ = exec.Command("sync").Run() // what was written before is not this run's burden
	cmd := exec.CommandContext(t.Context(), wire, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.Broken = strings.TrimSpace(errs.String())
		return r
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func table(sides []side, found map[string]map[string][]result) {
	fmt.Println("\n| load | side | MB/s | × Kafka | CPU-s/GB | × Kafka | ack p50 / p99 / p99.9 ms | resident MiB |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, l := range loads {
		theirs := found[l.name]["Apache Kafka"]
		for _, s := range sides {
			list := found[l.name][s.name]
			if len(list) == 0 {
				continue
			}
			mb, cpu := median(list, func(r result) float64 { return r.MB }), median(list, func(r result) float64 { return r.CPU })
			ack := func(q string) float64 { return median(list, func(r result) float64 { return r.Ack[q] }) }
			fmt.Printf("| %s | %s | %.0f | %.2f | %.2f | %.2f | %.2f / %.2f / %.2f | %.0f |\n", l.name, s.name, mb,
				mb/median(theirs, func(r result) float64 { return r.MB }), cpu, cpu/median(theirs, func(r result) float64 { return r.CPU }),
				ack("p50"), ack("p99"), ack("p99.9"), median(list, func(r result) float64 { return r.MiB }))
		}
	}
}

func median(list []result, of func(result) float64) float64 {
	var values []float64
	for _, r := range list {
		values = append(values, of(r))
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
