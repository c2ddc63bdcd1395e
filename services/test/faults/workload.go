//go:build faults

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/services/test/faults/history"
	"moldau.dev/services/test/testcluster"
)

// pacing is between the rounds of one producer.
const pacing = 10 * time.Millisecond

// The groups of a run.
const (
	classicGroup  = "watchers"
	consumerGroup = "server-side watchers" // KIP-848
	kafkaCopier   = "kafka-copier"
	nativeCopier  = "native-copier"
)

// workload is the clients at work.
type workload struct {
	r   *rig
	rec *recorder

	stopSends, stopReads, stopCopies context.CancelFunc
	sends, reads, copies             sync.WaitGroup

	groups    []*watchers
	registers *registers
	admin     *kadm.Client

	mu     sync.Mutex
	failed []error
}

// begin starts producers and readers, transactions, exactly-once copies, groups
// and committed offsets at both doors.
func begin(t *testing.T, r *rig, rec *recorder, seed uint64) *workload {
	t.Helper()
	w := &workload{r: r, rec: rec, registers: newRegisters(rec)}
	sending, stopSends := context.WithCancel(testcluster.Context(t))
	reading, stopReads := context.WithCancel(testcluster.Context(t))
	copying, stopCopies := context.WithCancel(testcluster.Context(t))
	w.stopSends, w.stopReads, w.stopCopies = stopSends, stopReads, stopCopies
	kafka, client := r.KafkaAddrs(), r.native(t)

	w.send(func() error { return produceNative(sending, rec, 1, client, sentTopic, partitions, pacing) })
	w.send(func() error { return produceNative(sending, rec, 2, r.native(t), relaxedTopic, partitions, pacing) })
	w.send(func() error { return produceKafka(sending, rec, 3, kafka, sentTopic, partitions, pacing) })
	w.send(func() error { return produceKafka(sending, rec, 4, kafka, relaxedTopic, partitions, pacing) })
	w.read(func() error { return readNative(reading, rec, 11, client, sentTopic, false) })
	w.read(func() error { return readKafka(reading, rec, 12, kafka, sentTopic, partitions) })
	w.read(func() error { return readKafka(reading, rec, 13, kafka, relaxedTopic, partitions) })

	dice := func(process int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(process))) }
	w.send(func() error { return transactNative(sending, rec, 101, client, transactedTopic, partitions, dice(101)) })
	w.send(func() error {
		return transactNative(sending, rec, 102, r.native(t), transactedTopic, partitions, dice(102))
	})
	w.send(func() error { return transactKafka(sending, rec, 103, kafka, transactedTopic, partitions, dice(103)) })
	w.send(func() error { return transactKafka(sending, rec, 104, kafka, transactedTopic, partitions, dice(104)) })
	w.read(func() error { return readNative(reading, rec, 111, client, transactedTopic, false) })
	w.read(func() error { return readKafka(reading, rec, 112, kafka, transactedTopic, partitions) })
	for n := range 2 {
		w.copy(func() error { return copyKafka(copying, rec, 121+n, kafka, kafkaCopier, sentTopic, kafkaCopy) })
	}
	w.copy(func() error {
		return copyNative(copying, rec, 131, r.native(t), nativeCopier, transactedTopic, nativeCopy, partitions)
	})
	for i, opts := range [][]kgo.Opt{nil, {kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())}} {
		g := newWatchers(rec, []string{classicGroup, consumerGroup}[i])
		w.groups = append(w.groups, g)
		for n := range 3 {
			process := 141 + 10*i + n
			w.read(func() error { return g.watch(reading, process, kafka, relaxedTopic, dice(process), opts...) })
		}
	}
	g := w.registers
	w.read(func() error { return g.commitNative(reading, 161, client, "by-grpc", sentTopic) })
	w.read(func() error { return g.commitKafka(reading, 162, kafka, "by-kafka", sentTopic) })
	for i, group := range []string{"by-grpc", "by-kafka"} {
		w.read(func() error { return g.fetchNative(reading, 163+i, client, group, sentTopic) })
		w.read(func() error { return g.fetchKafka(reading, 165+i, kafka, group, sentTopic) })
	}
	admin, err := newAdmin(kafka)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	w.admin = admin
	return w
}

func (w *workload) send(f func() error) { w.sends.Go(func() { w.note(f()) }) }
func (w *workload) read(f func() error) { w.reads.Go(func() { w.note(f()) }) }
func (w *workload) copy(f func() error) { w.copies.Go(func() { w.note(f()) }) }

func (w *workload) note(err error) {
	if err != nil {
		w.mu.Lock()
		w.failed = append(w.failed, err)
		w.mu.Unlock()
	}
}

// end lets the producers get their answers and the copies become whole, and then
// stops the readers.
func (w *workload) end(t *testing.T) {
	t.Helper()
	w.stopSends()
	w.sends.Wait()
	w.awaitCopy(t, kafkaCopier, sentTopic)
	w.awaitCopy(t, nativeCopier, transactedTopic)
	w.stopCopies()
	w.copies.Wait()
	w.stopReads()
	w.reads.Wait()
	for _, err := range w.failed {
		t.Errorf("a client gave up: %v", err)
	}
}

// patience bounds how long what is due may take once nothing is broken any more.
const patience = 3 * time.Minute

// awaitCopy waits until a copier has committed the end of what it copies.
func (w *workload) awaitCopy(t *testing.T, group, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(testcluster.Context(t), patience)
	defer cancel()
	for last := ""; ; rest(ctx, w.rec.clk, retryPause) {
		lag, err := w.lag(ctx, group, topic)
		switch {
		case ctx.Err() != nil:
			t.Errorf("%s does not come to the end of %s: %s", group, topic, last)
			return
		case err != nil:
			last = err.Error()
		case lag == 0:
			return
		default:
			last = fmt.Sprintf("%d records are left", lag)
		}
	}
}

// lag is how many offsets a group has before it in a topic.
func (w *workload) lag(ctx context.Context, group, topic string) (lag int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	ends, err := w.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ends of %s: %w", topic, err)
	}
	at, err := w.committed(ctx, group)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { lag += max(o.Offset-at[logName(topic, o.Partition)], 0) })
	return lag, nil
}

// committed are the offsets of a group, by log.
func (w *workload) committed(ctx context.Context, group string) (map[string]int64, error) {
	got, err := w.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", group, err)
	}
	at := map[string]int64{}
	got.Each(func(o kadm.OffsetResponse) { at[logName(o.Topic, o.Partition)] = o.At })
	return at, nil
}

// judge finds what no correct cluster can have shown, in ops and beyond.
func (w *workload) judge(t *testing.T, ops []history.Op, final map[string][]int64) []history.Anomaly {
	t.Helper()
	whole := map[string]bool{}
	for log := range final {
		whole[log] = true
	}
	found := append(history.Check(ops, whole), w.registers.check()...)
	for _, g := range w.groups {
		at, err := w.committed(testcluster.Context(t), g.group)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, g.check(ops, at)...)
	}
	for p := range int32(partitions) {
		found = append(found, history.CheckCopies(logName(kafkaCopy, p), final[logName(sentTopic, p)], final[logName(kafkaCopy, p)], true)...)
		found = append(found, history.CheckCopies(logName(nativeCopy, p), final[logName(transactedTopic, p)], final[logName(nativeCopy, p)], true)...)
	}
	return found
}

// tell fills in what the workloads that need coordinators did.
func (w *workload) tell(e *Entry, ops []history.Op, final map[string][]int64) {
	for _, op := range ops {
		if op.Txn {
			e.Transactions++
		}
	}
	for p := range int32(partitions) {
		e.Copied += len(final[logName(kafkaCopy, p)]) + len(final[logName(nativeCopy, p)])
	}
	for _, g := range w.groups {
		e.Claims += len(g.claims)
	}
	e.Offsets = len(w.registers.ops)
}
