//go:build faults

package faults

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"moldau.dev/services/test/campaign"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const (
	secondsVar = "MOLDAU_FAULT_SECONDS"
	seedVar    = "MOLDAU_FAULT_SEED"
)

// TestFaultsOnOneNode kills and freezes the processes of a cluster without
// replicas.
func TestFaultsOnOneNode(t *testing.T) {
	run(t, "one node", testcluster.Shape{Metadata: 1, StorageNodes: 1, Coordinators: 1, Gateways: 2}, 0)
}

// TestFaultsOnThreeNodes does so where each partition has three replicas, and
// the one metadata process keeps what it knows itself.
func TestFaultsOnThreeNodes(t *testing.T) {
	run(t, "three nodes", testcluster.Shape{Metadata: 1, StorageNodes: 3, Coordinators: 1, Gateways: 2}, 0)
}

// TestFaultsOnConsul does so in the whole: three of metadata on three Consul
// servers, which break too.
func TestFaultsOnConsul(t *testing.T) {
	run(t, "consul", testcluster.Shape{Metadata: 3, StorageNodes: 3, Coordinators: 2, Gateways: 2}, 3)
}

// faultsOf are the faults of a cluster: in one lane those of what keeps and
// decides, in the other those of what serves.
func faultsOf(r *rig) [][]fault {
	storage, metadata := r.Members("storage-node"), r.Members("metadata")
	below := []fault{
		kill(storage...), kill(storage...), stop(storage...), pause(8*time.Second, storage...),
		kill(metadata...), pause(6*time.Second, metadata...),
	}
	if len(storage) > 1 {
		below = append(below, killAll(storage...), killAll(storage[1:]...))
	}
	if len(metadata) > 1 {
		below = append(below, killActive(), pauseActive(8*time.Second), stop(metadata...), killAll(metadata...))
	}
	if servers := r.consul; len(servers) > 0 {
		below = append(below, killConsul(servers...), killConsulLeader(servers...), pauseConsulLeader(8*time.Second, servers...), killAllConsul(servers...))
	}
	gateways, coordinators := r.Members("gateway"), r.Members("coordinator")
	return [][]fault{below, {
		kill(gateways...), stop(gateways...), pause(3*time.Second, gateways...), killAll(gateways...),
		kill(coordinators...), kill(coordinators...), stop(coordinators...), pause(8*time.Second, coordinators...), killAll(coordinators...),
	}}
}

func run(t *testing.T, suite string, shape testcluster.Shape, consul int) {
	begun := campaign.Begin("faults: " + suite)
	seed, seconds := campaign.Number(t, seedVar, rand.Uint64()), int(campaign.Number(t, secondsVar, 120))
	t.Logf("seed %d, %d s", seed, seconds)
	kept, opts := gather(t)
	r := startRig(t, shape, consul, opts...)
	rec := newRecorder(r.clk)
	work := begin(t, r, rec, seed)
	n := &nemesis{t: t, r: r, lanes: faultsOf(r)}
	var final map[string][]int64
	defer func() { kept.keep(t, time.Unix(0, rec.begin), n.told, rec.history(), final) }()
	injected := n.run(seed, time.Duration(seconds)*time.Second)
	work.end(t)
	final = readWhole(t, r, rec)

	for _, text := range slices.Sorted(maps.Keys(rec.errors)) {
		t.Logf("%d calls without an outcome: %s", rec.errors[text], text)
	}
	ops := rec.history()
	anomalies := work.judge(t, ops, final)
	for i, a := range anomalies {
		if i == 20 {
			t.Errorf("and %d more", len(anomalies)-i)
			break
		}
		t.Errorf("%s in %s: %s", a.Kind, a.Log, a.Details)
	}
	e := Entry{
		Run: begun, Seed: seed, Seconds: seconds,
		Operations: len(ops), Acked: rec.acked, Unknown: rec.unknown, Read: rec.readable, Faults: n.done, Anomalies: len(anomalies),
	}
	work.tell(&e, ops, final)
	campaign.Note(t, e)
	if injected == 0 || e.Acked == 0 || e.Transactions == 0 || e.Copied == 0 || e.Claims == 0 || e.Offsets == 0 {
		t.Errorf("%d faults, %+v: something was not proved", injected, e)
	}
}

// readWhole reads every topic once more, from its start to its end, and returns
// the values of each log in order.
func readWhole(t *testing.T, r *rig, rec *recorder) map[string][]int64 {
	t.Helper()
	client := r.native(t)
	logs := map[string][]int64{}
	for i, topic := range everyTopic {
		whole := rec // of copies nobody notes what was sent
		if topic == kafkaCopy || topic == nativeCopy {
			whole = newRecorder(r.clk)
		}
		process := 201 + i
		if err := readNative(testcluster.Context(t), whole, process, client, topic, true); err != nil {
			t.Fatalf("the read of %s at the end: %v", topic, err)
		}
		for p := range int32(partitions) {
			logs[logName(topic, p)] = nil
		}
		for _, op := range whole.history() {
			if op.Process != process {
				continue
			}
			for _, a := range op.Actions {
				for _, record := range a.Records {
					logs[a.Log] = append(logs[a.Log], record.Value)
				}
			}
		}
	}
	return logs
}
