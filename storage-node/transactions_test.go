package storagenode

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

func transactional(pid int64, epoch int16, seq int32) func(*record.BuilderOptions) {
	return func(o *record.BuilderOptions) {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = pid, epoch, seq, true
	}
}

func send(t testing.TB, s storageclient.Storage, in storageclient.AppendPartition) storageclient.AppendResult {
	t.Helper()
	in.LeaderEpoch = -1
	resp, err := s.Append(t.Context(), &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{in}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Results[0]
}

// begin opens a transaction with one batch, verified as the coordinator would
// (T7), and returns where the batch is.
func begin(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, pid int64, epoch int16, value string) int64 {
	t.Helper()
	in := storageclient.AppendPartition{PartitionID: id, Batch: batch(t, 1, value, transactional(pid, epoch, 0))}
	r := send(t, s, in)
	if r.Err != nil || r.VerifyGuard == 0 {
		t.Fatalf("first batch of a transaction: %+v; want a guard", r)
	}
	in.Guard = r.VerifyGuard
	if r = send(t, s, in); r.Err != nil || r.VerifyGuard != 0 {
		t.Fatalf("verified batch: %+v", r)
	}
	return r.BaseOffset
}

// end writes a marker under transaction version 2.
func end(t testing.TB, s storageclient.Storage, pid int64, epoch int16, commit bool, in ...storageclient.PartitionID) []error {
	t.Helper()
	resp, err := s.WriteMarkers(t.Context(), &storageclient.WriteMarkersRequest{Markers: []storageclient.Marker{
		{ProducerID: pid, ProducerEpoch: epoch + 1, TransactionVersion: 2, Commit: commit, Partitions: in},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Results[0].Errs
}

func mustEnd(t testing.TB, s storageclient.Storage, pid int64, epoch int16, commit bool, in ...storageclient.PartitionID) {
	t.Helper()
	for i, err := range end(t, s, pid, epoch, commit, in...) {
		if err != nil {
			t.Fatalf("marker in %v: %v", in[i], err)
		}
	}
}

func latest(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, committed bool) int64 {
	t.Helper()
	resp, err := s.ListOffsets(t.Context(), &storageclient.ListOffsetsRequest{
		ReadCommitted: committed,
		Partitions:    []storageclient.ListOffsetsPartition{{PartitionID: id, LeaderEpoch: -1, Timestamp: storageclient.Latest}},
	})
	if err != nil || resp.Results[0].Err != nil {
		t.Fatal(resp, err)
	}
	return resp.Results[0].Offset
}

func TestTransactionIsSeenWholeOrNotAtAll(t *testing.T) { // T7, T9, T12
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 2, nil)
	one, two := pid(topic, 0), pid(topic, 1)
	s := c.start()
	mustAppend(t, s, one, batch(t, 2, "plain"))
	first := begin(t, s, one, 7, 0, "a")
	begin(t, s, two, 7, 0, "b")
	mustAppend(t, s, one, batch(t, 1, "after"))
	if got := latest(t, s, one, true); got != first {
		t.Fatalf("the last stable offset is %d, want %d", got, first)
	}
	if got := latest(t, s, one, false); got != 4 {
		t.Fatalf("the high watermark is %d, want 4", got)
	}
	mustEnd(t, s, 7, 0, true, one, two)
	if got := latest(t, s, one, true); got != 5 {
		t.Fatalf("once ended, the last stable offset is %d, want 5", got)
	}
	r := fetchFrom(t, s, one, 4)
	m, err := record.ParseControl(r.Batches)
	if err != nil || m.Type != record.Commit || m.ProducerID != 7 || m.ProducerEpoch != 1 || r.LastStableOffset != 5 {
		t.Fatalf("at the end there is %+v, %v", m, err)
	}
}

func TestCommittedFetchWaitsForTheMarker(t *testing.T) { // T12
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newDisk())
		id := pid(c.meta.create("orders", 1, nil), 0)
		s := c.start()
		begin(t, s, id, 7, 0, "a")
		got := poll(t, s, &storageclient.FetchRequest{
			MinBytes: 1, MaxBytes: 1 << 20, MaxWaitMs: 60_000, ReadCommitted: true,
			Partitions: []storageclient.FetchPartition{{PartitionID: id, LeaderEpoch: -1, MaxBytes: 1 << 20}},
		})
		mustAppend(t, s, id, batch(t, 1, "not yet"))
		synctest.Wait()
		select {
		case r := <-got:
			t.Fatalf("read %d bytes of an open transaction", len(r[0].Batches))
		default:
		}
		mustEnd(t, s, 7, 0, true, id)
		if v := values(t, (<-got)[0].Batches); v[0] != "a" || v[1] != "not yet" {
			t.Fatalf("read %v", v)
		}
		c.stop()
		c.node = nil
	})
}

func TestMarkerThatWasWrittenIsNotWrittenAgain(t *testing.T) { // T9, KAFKA-19999
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	begin(t, s, id, 7, 0, "a")
	mustEnd(t, s, 7, 0, false, id)
	mustEnd(t, s, 7, 0, false, id)
	if got := latest(t, s, id, false); got != 2 {
		t.Fatalf("the log ends at %d, want one batch and one marker", got)
	}
	r := send(t, s, storageclient.AppendPartition{PartitionID: id, Batch: batch(t, 1, "late", transactional(7, 0, 1))})
	if !errcode.Is(r.Err, errcode.InvalidProducerEpoch) {
		t.Fatalf("a batch that comes after its transaction ended: %+v", r)
	}
}

func TestMarkersTellOfEachPartition(t *testing.T) {
	c := newCluster(t, newDisk())
	topic := c.meta.create("orders", 1, nil)
	s := c.start()
	begin(t, s, pid(topic, 0), 7, 3, "a")
	errs := end(t, s, 7, 1, false, pid(topic, 0), pid(topic, 9))
	if !errcode.Is(errs[0], errcode.InvalidProducerEpoch) || !errcode.Is(errs[1], errcode.UnknownPartition) {
		t.Fatalf("got %v", errs)
	}
	for _, m := range []storageclient.Marker{
		{ProducerID: -1}, {ProducerEpoch: -1}, {CoordinatorEpoch: -1}, {CoordinatorEpoch: 1 << 31},
	} {
		_, err := s.WriteMarkers(t.Context(), &storageclient.WriteMarkersRequest{Markers: []storageclient.Marker{m}})
		if !errcode.Is(err, errcode.InvalidArgument) {
			t.Fatalf("marker %+v: %v", m, err)
		}
	}
}

func TestProducersAreDescribed(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	begin(t, s, id, 7, 2, "a")
	mustAppend(t, s, id, batch(t, 3, "b", idempotent(8, 0, 0)))
	got, err := s.DescribeProducers(t.Context(), []storageclient.PartitionID{id, pid(id.Topic, 4)})
	if err != nil || !errcode.Is(got[1].Err, errcode.UnknownPartition) {
		t.Fatal(got, err)
	}
	want := []storageclient.ProducerState{
		{ProducerID: 7, ProducerEpoch: 2, LastSequence: 0, LastTimestampMs: noon.UnixMilli(), CoordinatorEpoch: -1, TransactionStart: 0},
		{ProducerID: 8, ProducerEpoch: 0, LastSequence: 2, LastTimestampMs: noon.UnixMilli(), CoordinatorEpoch: -1, TransactionStart: -1},
	}
	if len(got[0].Producers) != 2 || got[0].Producers[0] != want[0] || got[0].Producers[1] != want[1] {
		t.Fatalf("got %+v", got[0].Producers)
	}
}

// Invariant 27 and T15: what a start knows of producers is what the log says,
// whether the node stopped, was killed or lost power, and whatever snapshots
// there are.
func TestRestartKnowsTransactions(t *testing.T) {
	for name, end := range map[string]func(c *cluster){
		"after a stop":       (*cluster).stop,
		"after a kill":       (*cluster).kill,
		"after a power loss": func(c *cluster) { c.kill(); c.fs.(*vfs.Memory).PowerLoss(rand.New(rand.NewPCG(1, 2))) },
	} {
		for _, snapshots := range []int{0, 1, 2, 3} {
			c := newCluster(t, newDisk())
			id := pid(c.meta.create("orders", 1, nil), 0)
			s := c.start()
			steps := []func(){
				func() { begin(t, s, id, 7, 0, "open") },
				func() { begin(t, s, id, 8, 0, "committed"); mustEnd(t, s, 8, 0, true, id) },
				func() { mustAppend(t, s, id, batch(t, 1, "plain", idempotent(9, 0, 0))) },
			}
			for i, step := range steps {
				step()
				if i < snapshots {
					s.retainOnce(context.Background())
				}
			}
			end(c)
			s = c.start()
			if got := latest(t, s, id, true); got != 0 {
				t.Fatalf("%s: the last stable offset is %d, want 0: a transaction is open", name, got)
			}
			known, err := s.DescribeProducers(t.Context(), []storageclient.PartitionID{id})
			if err != nil || len(known[0].Producers) != 3 {
				t.Fatal(name, known, err)
			}
			for i, start := range []int64{0, -1, -1} {
				if got := known[0].Producers[i].TransactionStart; got != start {
					t.Fatalf("%s: producer %d has a transaction from %d, want %d", name, 7+i, got, start)
				}
			}
			mustEnd(t, s, 7, 0, false, id)
			if got := latest(t, s, id, true); got != 5 {
				t.Fatalf("%s: once ended, the last stable offset is %d, want 5", name, got)
			}
			c.stop()
		}
	}
}

func TestGuardDiesWithItsLeader(t *testing.T) { // T7
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	in := storageclient.AppendPartition{PartitionID: id, Batch: batch(t, 1, "a", transactional(7, 0, 0))}
	in.Guard = send(t, s, in).VerifyGuard
	c.kill()
	s = c.start()
	r := send(t, s, in)
	if r.Err != nil || r.VerifyGuard == 0 || r.VerifyGuard == in.Guard {
		t.Fatalf("with a guard of a life before: %+v; want a new one", r)
	}
}

func TestTruncationForgetsWhatItCuts(t *testing.T) { // R3, invariant 27
	for _, snapshots := range []bool{false, true} {
		c := newCluster(t, newDisk())
		id := pid(c.meta.create("orders", 1, nil), 0)
		s := c.start()
		mustAppend(t, s, id, batch(t, 1, "plain", idempotent(9, 0, 0)))
		if snapshots {
			s.retainOnce(context.Background())
		}
		begin(t, s, id, 7, 0, "a")
		mustAppend(t, s, id, batch(t, 1, "plain", idempotent(9, 0, 1)))
		if snapshots {
			s.retainOnce(context.Background())
		}
		p, err := s.partition(id)
		if err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		err = p.truncate(p.log.Load(), 1)
		p.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // also after the log has grown past what was cut
			if known := p.producers.Describe(); len(known) != 1 || known[0].ProducerID != 9 || known[0].TransactionStart != -1 {
				t.Fatalf("after the cut the producers are %+v", known)
			}
			mustAppend(t, s, id, batch(t, 9, "other"))
			c.kill()
			s = c.start()
			if p, err = s.partition(id); err != nil {
				t.Fatal(err)
			}
			if _, err := p.open(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// committedFrom reads as a committed reader, with the list of what to skip.
func committedFrom(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, offset int64, maxBytes int) storageclient.FetchResult {
	t.Helper()
	resp, err := s.Fetch(t.Context(), &storageclient.FetchRequest{MaxBytes: maxBytes, ReadCommitted: true, Partitions: []storageclient.FetchPartition{
		{PartitionID: id, LeaderEpoch: -1, Offset: offset, MaxBytes: maxBytes},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Release()
	r := resp.Results[0]
	r.Batches = append([]byte(nil), r.Batches...)
	return r
}

func TestCommittedFetchTellsWhatWasAborted(t *testing.T) { // T12
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	begin(t, s, id, 9, 0, "first to begin")  // 0
	begin(t, s, id, 7, 0, "last to begin")   // 1
	mustEnd(t, s, 7, 0, false, id)           // 2
	mustEnd(t, s, 9, 0, false, id)           // 3
	begin(t, s, id, 8, 0, "committed")       // 4
	mustEnd(t, s, 8, 0, true, id)            // 5
	begin(t, s, id, 7, 1, "aborted as well") // 6
	mustEnd(t, s, 7, 1, false, id)           // 7
	all := []storageclient.AbortedTransaction{{ProducerID: 9, FirstOffset: 0}, {ProducerID: 7, FirstOffset: 1}, {ProducerID: 7, FirstOffset: 6}}
	for from, want := range map[int64][]storageclient.AbortedTransaction{0: all, 2: all, 3: {all[0], all[2]}, 4: all[2:], 7: all[2:], 8: nil} {
		if r := committedFrom(t, s, id, from, 1<<20); r.Err != nil || !slices.Equal(r.Aborted, want) {
			t.Fatalf("from %d: %v, %v; want %v", from, r.Aborted, r.Err, want)
		}
	}
	if r := committedFrom(t, s, id, 1, 1); !slices.Equal(r.Aborted, all[:2]) {
		t.Fatalf("one batch: %v, want %v", r.Aborted, all[:2])
	}
	if r := fetchFrom(t, s, id, 0); r.Aborted != nil {
		t.Fatalf("a reader of everything is told %v", r.Aborted)
	}
}

func TestLastStableOffsetDoesNotLieBeforeTheStart(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	begin(t, s, id, 7, 0, "open")
	mustAppend(t, s, id, batch(t, 3, "plain"))
	resp, err := s.DeleteRecords(t.Context(), &storageclient.DeleteRecordsRequest{Partitions: []storageclient.DeleteRecordsPartition{{PartitionID: id, BeforeOffset: 2}}})
	if err != nil || resp.Results[0].Err != nil {
		t.Fatal(resp, err)
	}
	if got := latest(t, s, id, true); got != 2 {
		t.Fatalf("the last stable offset is %d, the log starts at 2", got)
	}
}

func TestCompactionKeepsToWhatIsDecidedAndToKnownProducers(t *testing.T) { // T16, invariant 29
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("table", 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "1"}), 0)
	s := c.start()
	roll := func() {
		p, err := s.partition(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.log.Load().Roll(); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, s, id, 7, 0, "aborted")
	begin(t, s, id, 8, 0, "open")
	mustEnd(t, s, 7, 0, false, id)
	mustAppend(t, s, id, batch(t, 1, "plain"))
	roll()
	mustAppend(t, s, id, batch(t, 1, "plain"))
	s.retainOnce(context.Background())
	if got := values(t, fetchFrom(t, s, id, 0).Batches); got[0] != "aborted" || got[1] != "open" || got[3] != "plain" {
		t.Fatalf("compaction went past what is decided: %v", got)
	}
	mustEnd(t, s, 8, 0, true, id)
	roll()
	mustAppend(t, s, id, batch(t, 1, "active"))
	s.retainOnce(context.Background())
	r := fetchFrom(t, s, id, 0)
	if got := values(t, r.Batches); len(got) != 4 || got[4] != "plain" || got[6] != "active" { // and two markers
		t.Fatalf("compacted it holds %v", got)
	}
	kept := map[int64]bool{}
	for rest := r.Batches; len(rest) > 0; {
		_, next, h, err := record.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		kept[h.BaseOffset], rest = true, next
	}
	for _, offset := range []int64{0, 1, 2, 5} { // headers and markers of 7 and 8
		if !kept[offset] {
			t.Fatalf("batch %d of a known producer is gone; kept are %v", offset, kept)
		}
	}
}

func TestFetchTellsWhereLogsPart(t *testing.T) { // KIP-320, KIP-595, R14
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, id, batch(t, 4, "epoch 3"))
	c.meta.change(func(v *metadataclient.View) {
		next := *v.TopicsByID[id.Topic]
		next.Partitions = slices.Clone(next.Partitions)
		next.Partitions[0].LeaderEpoch = 5
		v.Topics[next.Name], v.TopicsByID[id.Topic] = &next, &next
	})
	s.reconcile()
	mustAppend(t, s, id, batch(t, 2, "epoch 5"))
	for _, c := range []struct {
		offset int64
		epoch  int32
		want   *storageclient.EpochEnd
		reason errcode.Reason
	}{
		{offset: 4, epoch: 3},
		{offset: 6, epoch: 5},
		{offset: 0, epoch: 5},
		{offset: 5, epoch: 3, want: &storageclient.EpochEnd{Epoch: 3, EndOffset: 4}},
		{offset: 9, epoch: 3, want: &storageclient.EpochEnd{Epoch: 3, EndOffset: 4}}, // rather than out of range
		{offset: 5, epoch: 4, want: &storageclient.EpochEnd{Epoch: 3, EndOffset: 4}},
		{offset: 2, epoch: 4, want: &storageclient.EpochEnd{Epoch: 3, EndOffset: 4}},
		{offset: 9, epoch: 5, want: &storageclient.EpochEnd{Epoch: 5, EndOffset: 6}},
		{offset: 2, epoch: 9, reason: errcode.OffsetOutOfRange},
	} {
		resp, err := s.Fetch(t.Context(), &storageclient.FetchRequest{MinBytes: 1, MaxBytes: 1 << 20, Partitions: []storageclient.FetchPartition{
			{PartitionID: id, LeaderEpoch: -1, Offset: c.offset, MaxBytes: 1 << 20, LastFetchedEpoch: &c.epoch},
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := resp.Results[0]
		if errcode.ReasonOf(r.Err) != c.reason || (r.Diverging == nil) != (c.want == nil) || c.want != nil && *r.Diverging != *c.want {
			t.Errorf("offset %d after epoch %d: %v, %v; want %v, %q", c.offset, c.epoch, r.Diverging, r.Err, c.want, c.reason)
		}
		if r.Diverging != nil && len(r.Batches) > 0 {
			t.Errorf("offset %d after epoch %d: records of a log that has parted", c.offset, c.epoch)
		}
		resp.Release()
	}
}
