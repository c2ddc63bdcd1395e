//go:build kafkaclients

package kafkaclients

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// TestKafkaStreamsCountsExactlyOnce runs a word count of Kafka Streams under
// exactly_once_v2: its state, its changelog, its repartitioning and its offsets
// are in its transactions. It is killed three times in the middle, and the last
// two run at once. Each word's counts come out as 1, 2, 3, …, each once.
func TestKafkaStreamsCountsExactlyOnce(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "lines", 4, keepForever)
	c.CreateTopic(t, "counts", 4, keepForever)
	want, sent := map[string]int{}, 0
	produce := func(lines int) {
		req := &pb.ProduceRequest{Topic: "lines"}
		for range lines {
			line := fmt.Sprintf("river w%d w%d w%d", sent%7, sent%31, sent%101)
			for word := range strings.SplitSeq(line, " ") {
				want[word]++
			}
			req.Records = append(req.Records, &pb.Record{Key: []byte(strconv.Itoa(sent)), Value: []byte(line)})
			sent++
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
	starts := 0
	start := func() *testcluster.Process {
		starts++
		jvm := java(filepath.Join("testdata", "WordCount.java"))
		args := append(jvm[1:len(jvm):len(jvm)], c.KafkaAddr(), "lines", "counts", t.TempDir())
		return testcluster.StartProgram(t, fmt.Sprint("word count ", starts), jvm[0], nil, args...)
	}

	produce(1000)
	app := start()
	for range 3 {
		before := awaitCounts(t, c, 1)
		produce(1000)
		awaitCounts(t, c, before+500)
		app.Kill()
		app = start()
	}
	start()
	produce(1000)
	counts := awaitCounts(t, c, 4*sent)
	if counts != 4*sent {
		t.Errorf("%d counts came, of %d words", counts, 4*sent)
	}
	next := map[string]int{}
	for _, r := range readCounts(t, c) {
		word, count := string(r.GetKey()), string(r.GetValue())
		if next[word]++; count != strconv.Itoa(next[word]) {
			t.Fatalf("%s is counted %s, after %d", word, count, next[word]-1)
		}
	}
	for word, n := range want {
		if next[word] != n {
			t.Errorf("%s is counted %d times, not %d", word, next[word], n)
		}
	}
}

// awaitCounts waits until that many counts are committed, and returns how many
// are.
func awaitCounts(t *testing.T, c *testcluster.Cluster, least int) int {
	t.Helper()
	for testcluster.Context(t).Err() == nil {
		if n := len(readCounts(t, c)); n >= least {
			return n
		}
	}
	t.Fatalf("%d counts never came", least)
	return 0
}

// readCounts reads what is committed.
func readCounts(t *testing.T, c *testcluster.Cluster) (all []*pb.Record) {
	t.Helper()
	stream, err := c.Read(t).Read(testcluster.Context(t), &pb.ReadRequest{UntilEnd: true, ReadCommitted: true, Topics: []*pb.ReadTopic{{Topic: "counts"}}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frame.GetRecords().GetRecords()...)
	}
}
