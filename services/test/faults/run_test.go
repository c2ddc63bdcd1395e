//go:build faults

package faults

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/test/faults/history"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const (
	secondsVar = "MOLDAU_FAULT_SECONDS"
	seedVar    = "MOLDAU_FAULT_SEED"
	topicName  = "faulted"
	partitions = 6
	pacing     = 10 * time.Millisecond // between rounds of one producer
)

// TestFaultsOnOneNode kills and freezes the processes of a cluster without
// replicas.
func TestFaultsOnOneNode(t *testing.T) {
	storage, gateways := members("storage-node", 1), members("gateway", 2)
	run(t, "one node", testcluster.Shape{Metadata: 1, StorageNodes: 1, Gateways: 2}, 1, []fault{
		kill(storage...), stop(storage...), pause(3*time.Second, storage...), kill(gateways...), stop(gateways...), pause(3*time.Second, gateways...),
		kill(members("metadata", 1)...), pause(6*time.Second, members("metadata", 1)...),
	})
}

// TestFaultsOnThreeNodes does so where each partition has three replicas.
func TestFaultsOnThreeNodes(t *testing.T) {
	storage, gateways := members("storage-node", 3), members("gateway", 2)
	run(t, "three nodes", testcluster.Shape{Metadata: 1, StorageNodes: 3, Gateways: 2}, 3, []fault{
		kill(storage...), kill(storage...), stop(storage...), pause(8*time.Second, storage...), killAll(storage...), killAll(storage[:2]...),
		kill(gateways...), stop(gateways...), pause(3*time.Second, gateways...),
		kill(members("metadata", 1)...), pause(6*time.Second, members("metadata", 1)...),
	})
}

func members(role string, n int) []testcluster.Member {
	var list []testcluster.Member
	for id := range n {
		list = append(list, testcluster.Member{Role: role, ID: id + 1})
	}
	return list
}

func run(t *testing.T, suite string, shape testcluster.Shape, replicas int32, faults []fault) {
	seed, seconds := number(t, seedVar, rand.Uint64()), int(number(t, secondsVar, 120))
	t.Logf("seed %d, %d s", seed, seconds)
	clk := clock.Real()
	c := testcluster.StartShape(t, shape)
	_, err := c.Topics(t).CreateTopic(testcluster.Context(t), &moldauv1.CreateTopicRequest{
		Name: topicName, PartitionCount: partitions, ReplicationFactor: replicas,
		Configs: map[string]string{"min.insync.replicas": strconv.Itoa(int(replicas+1) / 2)},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorder(clk)
	work := begin(t, r, c)
	n := &nemesis{t: t, c: c, clk: clk, rng: rand.New(rand.NewPCG(seed, 1)), faults: faults}
	injected := n.run(time.Duration(seconds) * time.Second)
	work.end(t)
	final(t, r, c)

	for _, text := range slices.Sorted(maps.Keys(r.errors)) {
		t.Logf("%d sends without an outcome: %s", r.errors[text], text)
	}
	ops := r.history()
	anomalies := history.Check(ops, everyLog())
	for i, a := range anomalies {
		if i == 20 {
			t.Errorf("and %d more", len(anomalies)-i)
			break
		}
		t.Errorf("%s in %s: %s", a.Kind, a.Log, a.Details)
	}
	note(t, Entry{
		Date: clk.Now().UTC().Format(time.DateOnly), Suite: "faults: " + suite, Seed: seed, Seconds: seconds,
		Operations: len(ops), Acked: r.acked, Unknown: r.unknown, Read: r.readable, Faults: n.done, Anomalies: len(anomalies),
	})
	if injected == 0 || r.acked == 0 {
		t.Errorf("%d faults, %d acknowledged records: nothing was proved", injected, r.acked)
	}
}

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", variable, text, err)
	}
	return n
}

// workload is the clients at work.
type workload struct {
	stopSends, stopReads context.CancelFunc
	sends, reads         sync.WaitGroup
	mu                   sync.Mutex
	failed               []error
}

// begin starts producers and readers at both doors.
func begin(t *testing.T, r *recorder, c *testcluster.Cluster) *workload {
	t.Helper()
	w := &workload{}
	sending, stopSends := context.WithCancel(testcluster.Context(t))
	reading, stopReads := context.WithCancel(testcluster.Context(t))
	w.stopSends, w.stopReads = stopSends, stopReads
	client := native(t, c)
	w.send(func() error { return produceNative(sending, r, 1, client, topicName, partitions, pacing) })
	w.send(func() error { return produceNative(sending, r, 2, native(t, c), topicName, partitions, pacing) })
	w.send(func() error { return produceKafka(sending, r, 3, c.KafkaAddrs(), topicName, partitions, pacing) })
	w.send(func() error { return produceKafka(sending, r, 4, c.KafkaAddrs(), topicName, partitions, pacing) })
	w.read(func() error { return readNative(reading, r, 11, client, topicName, false) })
	w.read(func() error { return readKafka(reading, r, 12, c.KafkaAddrs(), topicName, partitions) })
	return w
}

func native(t *testing.T, c *testcluster.Cluster) *gatewayclient.Client {
	t.Helper()
	client, err := gatewayclient.Dial(strings.Join(c.GRPCAddrs(), ","), gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (w *workload) send(f func() error) { w.sends.Go(func() { w.note(f()) }) }
func (w *workload) read(f func() error) { w.reads.Go(func() { w.note(f()) }) }

func (w *workload) note(err error) {
	if err != nil {
		w.mu.Lock()
		w.failed = append(w.failed, err)
		w.mu.Unlock()
	}
}

// end lets the producers get their answers, and then stops the readers.
func (w *workload) end(t *testing.T) {
	t.Helper()
	w.stopSends()
	w.sends.Wait()
	w.stopReads()
	w.reads.Wait()
	for _, err := range w.failed {
		t.Errorf("a client gave up: %v", err)
	}
}

// final reads everything once more, from the start to the end.
func final(t *testing.T, r *recorder, c *testcluster.Cluster) {
	t.Helper()
	if err := readNative(testcluster.Context(t), r, 21, native(t, c), topicName, true); err != nil {
		t.Fatalf("the read at the end: %v", err)
	}
}

func everyLog() map[string]bool {
	logs := map[string]bool{}
	for p := range int32(partitions) {
		logs[logName(topicName, p)] = true
	}
	return logs
}
