//go:build exactlyonce

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/services/test/testcluster"
)

const (
	jobPartitions = 6
	// mostSteps bounds how far the job comes before the next kill.
	mostSteps = 12
	theJob    = "the job"
)

// TestCurlCarriesOrdersExactlyOnce runs a shell script that consumes, changes
// and produces with nothing but curl, and kills it, coordinators, gateways and
// the storage nodes that lead its partitions over and over, each time after some
// steps of the script. Each topic has three replicas. The output is each order
// line once, in the order of its invoice.
//
// MOLDAU_EOS_SEED repeats a run.
func TestCurlCarriesOrdersExactlyOnce(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the job needs %s", tool)
		}
	}
	seed := rand.Uint64()
	if s := os.Getenv("MOLDAU_EOS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MOLDAU_EOS_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	c := testcluster.StartShape(t, testcluster.Shape{Metadata: 1, StorageNodes: 3, Coordinators: 2, Gateways: 2},
		testcluster.WithEnv("MOLDAU_METADATA_DEFAULT_REPLICATION_FACTOR=3", "MOLDAU_METADATA_MIN_INSYNC_REPLICAS=2"))
	lines := orderLines(t)
	c.CreateTopic(t, "orders", jobPartitions, keepForever)
	c.CreateTopic(t, "capitals", jobPartitions, keepForever)
	produceOrders(t, c, lines)
	want := readOrders(t, c, "orders")
	for p := range want {
		for i := range want[p] {
			want[p][i] = string(bytes.ToUpper([]byte(want[p][i])))
		}
	}

	// Each kind of victim in turn, in a new order each round.
	victims := map[string]func() testcluster.Member{
		"a coordinator": func() testcluster.Member { return testcluster.Member{Role: "coordinator", ID: 1 + rng.IntN(2)} },
		"a gateway":     func() testcluster.Member { return testcluster.Member{Role: "gateway", ID: 1 + rng.IntN(2)} },
	}
	for _, topic := range []string{"orders", "capitals", "__consumer_offsets", "__transaction_state"} {
		victims["a leader of "+topic] = func() testcluster.Member { return leaderOf(t, c, topic, rng) }
	}
	kinds := append(slices.Sorted(maps.Keys(victims)), theJob, theJob)
	kills, round, story := map[string]int{}, []string{}, []string{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what happened:\n%s", strings.Join(story, "\n"))
		}
	})
	for j := startJob(t, c, func(step string) { story = append(story, step) }); j.steps(1 + rng.IntN(mostSteps)); {
		if len(round) == 0 {
			round = slices.Clone(kinds)
			rng.Shuffle(len(round), func(i, k int) { round[i], round[k] = round[k], round[i] })
		}
		kind := round[0]
		round = round[1:]
		kills[kind]++
		if kind == theJob {
			j.kill()
			j = startJob(t, c, func(step string) { story = append(story, step) })
			story = append(story, kind+" was killed, and runs again")
			continue
		}
		m := victims[kind]()
		c.Member(t, m).Kill()
		c.StartMember(t, m)
		story = append(story, kind+", "+m.Name()+", was killed, and is there again")
	}
	for _, kind := range kinds {
		if kills[kind] == 0 {
			t.Errorf("%s was never killed: too few lines", kind)
		}
	}
	t.Logf("%d lines; killed: %v", len(lines), kills)
	got := readOrders(t, c, "capitals")
	for p := range want {
		if n := firstDifference(want[p], got[p]); n >= 0 {
			t.Errorf("partition %d has %d lines, want %d; line %d is not as it should be; the log:\n%s", p, len(got[p]), len(want[p]), n, batchesOf(t, c, "capitals", int32(p)))
		}
	}
}

// leaderOf returns the storage node that leads a partition of a topic.
func leaderOf(t *testing.T, c *testcluster.Cluster, topic string, rng *rand.Rand) testcluster.Member {
	t.Helper()
	for {
		resp, err := c.Topics(t).GetTopic(testcluster.Context(t), &pb.GetTopicRequest{Name: topic})
		if err != nil {
			t.Fatal(err)
		}
		all := resp.GetTopic().GetPartitions()
		if leader := all[rng.IntN(len(all))].GetLeaderId(); leader >= 0 {
			return testcluster.Member{Role: "storage-node", ID: int(leader)}
		}
	}
}

func firstDifference(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

// batchesOf tells what lies in a partition: where, by which producer, and how
// its transactions ended.
func batchesOf(t *testing.T, c *testcluster.Cluster, topic string, partition int32) string {
	t.Helper()
	var out strings.Builder
	for at := int64(0); ; {
		resp, err := c.Read(t).Fetch(testcluster.Context(t), &pb.FetchRequest{
			Topic: topic, Partition: partition, Position: &pb.Position{At: &pb.Position_Offset{Offset: at}}, AsBatches: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetRecordBatches()) == 0 {
			return out.String()
		}
		for rest := resp.GetRecordBatches(); len(rest) > 0; {
			batch, after, h, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest, at = after, h.NextOffset()
			what := fmt.Sprint(h.Count, " records")
			if h.Control() {
				m, err := record.ParseControl(batch)
				what = fmt.Sprint("marker ", m, err)
			}
			fmt.Fprintf(&out, "%d: producer %d epoch %d: %s\n", h.BaseOffset, h.ProducerID, h.ProducerEpoch, what)
		}
	}
}

// orderLines are real order lines, of the folder retail of MOLDAU_TEST_RETAIL,
// else of ../shared/data beside the checkout; else lines made alike. An
// invoice has some lines.
func orderLines(t *testing.T) (lines [][]byte) {
	t.Helper()
	dir := os.Getenv("MOLDAU_TEST_RETAIL")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "..", "shared", "data", "retail")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		for i := range 3000 {
			lines = append(lines, fmt.Appendf(nil, "%d,%d,white lantern no. %d,6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom", 536365+i/7, i, i%97))
		}
		return lines
	}
	slices.Sort(files)
	for _, file := range files[:1] {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.Split(bytes.TrimSpace(text), []byte("\n"))[1:]...)
	}
	return lines
}

// produceOrders keys each line by its invoice.
func produceOrders(t *testing.T, c *testcluster.Cluster, lines [][]byte) {
	t.Helper()
	for chunk := range slices.Chunk(lines, 1000) {
		req := &pb.ProduceRequest{Topic: "orders"}
		for _, line := range chunk {
			invoice, _, _ := bytes.Cut(line, []byte(","))
			req.Records = append(req.Records, &pb.Record{Key: invoice, Value: line})
		}
		resp, err := c.Produce(t).Produce(testcluster.Context(t), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.GetResults() {
			if r.GetError() != nil {
				t.Fatal(r.GetError())
			}
		}
	}
}

// readOrders returns what is committed, by partition.
func readOrders(t *testing.T, c *testcluster.Cluster, topic string) [][]string {
	t.Helper()
	all := make([][]string, jobPartitions)
	stream, err := c.Read(t).Read(testcluster.Context(t), &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: topic}}, UntilEnd: true, ReadCommitted: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := stream.Recv()
		if err != nil {
			if err.Error() == "EOF" {
				return all
			}
			t.Fatal(err)
		}
		for _, r := range f.GetRecords().GetRecords() {
			all[f.GetRecords().GetPartition()] = append(all[f.GetRecords().GetPartition()], string(r.GetValue()))
		}
	}
}

// job is one run of the script.
type job struct {
	t     *testing.T
	cmd   *exec.Cmd
	steps func(n int) bool // waits for n more steps; false: it has ended instead
	kill  func()
}

func startJob(t *testing.T, c *testcluster.Cluster, each func(step string)) *job {
	t.Helper()
	ctx, cancel := context.WithCancel(testcluster.Context(t))
	args := []string{"testdata/exactly-once.sh", "orders", "capitals", "job", strconv.Itoa(jobPartitions)}
	for _, addr := range c.HTTPAddrs() {
		args = append(args, "http://"+addr)
	}
	cmd := exec.CommandContext(ctx, "bash", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	j := &job{t: t, cmd: cmd}
	j.steps = func(n int) bool {
		for range n {
			if lines.Scan() {
				each(lines.Text())
				continue
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("the job: %v: %s", err, said.String())
			}
			return false
		}
		return true
	}
	j.kill = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // curl is of its group
		_ = cmd.Wait()                                      // it was killed
		cancel()
	}
	t.Cleanup(func() { cancel(); _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return j
}
