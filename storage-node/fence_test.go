package storagenode

import (
	"testing"
	"testing/synctest"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

func appendAs(t testing.TB, s storageclient.Storage, id storageclient.PartitionID, owner int64) errcode.Reason {
	t.Helper()
	r := send(t, s, storageclient.AppendPartition{PartitionID: id, Batch: batch(t, 1, "x"), OwnerEpoch: owner})
	return errcode.ReasonOf(r.Err)
}

func readAs(id storageclient.PartitionID, offset, owner int64, waitMs int32) *storageclient.FetchRequest {
	return &storageclient.FetchRequest{MaxBytes: 1 << 20, MaxWaitMs: waitMs, Partitions: []storageclient.FetchPartition{
		{PartitionID: id, LeaderEpoch: -1, Offset: offset, MaxBytes: 1 << 20, OwnerEpoch: owner},
	}}
}

// owners sets the epochs of the shards that metadata knows.
func (m *fakeMetadata) owners(epochs ...int64) {
	m.change(func(v *metadataclient.View) {
		v.Shards = nil
		for _, e := range epochs {
			v.Shards = append(v.Shards, metadataclient.Shard{Epoch: e})
		}
	})
}

// A transcript of two owners of one shard (T1).
func TestFormerOwnerOfAShardCannotAppendToItsJournal(t *testing.T) {
	const fenced = errcode.CoordinatorFenced
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("__transaction_state", 2, nil), 1)
	s := c.start()
	for i, step := range []struct {
		why   string
		do    func() errcode.Reason
		wants errcode.Reason
	}{
		{"the first owner appends", func() errcode.Reason { return appendAs(t, s, id, 3) }, ""},
		{"and again", func() errcode.Reason { return appendAs(t, s, id, 3) }, ""},
		{"nobody appends without an epoch", func() errcode.Reason { return appendAs(t, s, id, 0) }, fenced},
		{"metadata names another owner", func() errcode.Reason { c.meta.owners(9, 4); return "" }, ""},
		{"that is enough", func() errcode.Reason { return appendAs(t, s, id, 3) }, fenced},
		{"the new owner reads", func() errcode.Reason {
			resp, err := s.Fetch(t.Context(), readAs(id, 0, 5, 0))
			if err != nil || len(values(t, resp.Results[0].Batches)) != 2 {
				t.Fatal(resp, err)
			}
			return errcode.ReasonOf(resp.Results[0].Err)
		}, ""},
		{"what metadata knows lags behind", func() errcode.Reason { return appendAs(t, s, id, 4) }, fenced},
		{"a former owner cannot read as one either", func() errcode.Reason {
			resp, err := s.Fetch(t.Context(), readAs(id, 0, 4, 0))
			if err != nil {
				t.Fatal(err)
			}
			return errcode.ReasonOf(resp.Results[0].Err)
		}, fenced},
		{"the new owner appends", func() errcode.Reason { return appendAs(t, s, id, 5) }, ""},
		{"the node restarts and knows what metadata knows", func() errcode.Reason {
			c.meta.owners(9, 5)
			c.kill()
			s = c.start()
			return appendAs(t, s, id, 4)
		}, fenced},
		{"the owner goes on", func() errcode.Reason { return appendAs(t, s, id, 5) }, ""},
		{"the other shard has an owner of its own", func() errcode.Reason { return appendAs(t, s, pid(id.Topic, 0), 8) }, fenced},
		{"whose epoch is another", func() errcode.Reason { return appendAs(t, s, pid(id.Topic, 0), 9) }, ""},
	} {
		if got := step.do(); got != step.wants {
			t.Fatalf("step %d, %s: %q, want %q", i, step.why, got, step.wants)
		}
	}
}

func TestTopicsOfOthersHaveNoOwner(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	c.meta.owners(9)
	if got := appendAs(t, c.start(), id, 0); got != "" {
		t.Fatalf("got %s", got)
	}
}

func TestNewOwnerIsNotShownAnEndBeforeWhatTheFormerAppended(t *testing.T) { // T1
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newDisk())
		id := pid(c.meta.create("__consumer_offsets", 1, nil), 0)
		s := c.start()
		if got := appendAs(t, s, id, 1); got != "" {
			t.Fatal(got)
		}
		p, err := s.partition(id)
		if err != nil {
			t.Fatal(err)
		}
		p.highWatermark.Store(0) // as if what was appended were not replicated yet
		resp, err := s.Fetch(t.Context(), readAs(id, 0, 2, 0))
		if err != nil || !errcode.Is(resp.Results[0].Err, errcode.OffsetNotAvailable) {
			t.Fatal(resp, err)
		}
		got := poll(t, s, readAs(id, 0, 2, 60_000))
		synctest.Wait()
		p.highWatermark.Store(1)
		p.waiting.wake(1)
		if r := (<-got)[0]; r.Err != nil || len(values(t, r.Batches)) != 1 {
			t.Fatalf("got %+v", r)
		}
		c.stop()
		c.node = nil
	})
}
