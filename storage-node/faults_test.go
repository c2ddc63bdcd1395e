package storagenode

import (
	"math/rand/v2"
	"strings"
	"testing"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// story appends, with small segments, until the power is off or all is done,
// and returns what was acknowledged: values by offset.
func story(t *testing.T, c *cluster, id storageclient.PartitionID) map[int64]string {
	acked := map[int64]string{}
	c.node = c.newNode()
	if err := c.node.Start(t.Context()); err != nil {
		c.node = nil
		return acked
	}
	for i := range int32(12) {
		value := strings.Repeat(string(rune('a'+i)), 300)
		r := appendTo(t, c.node, id, batch(t, 1, value, idempotent(1, 0, i)), storageclient.AcksAll)
		if r.Err != nil {
			break
		}
		acked[r.BaseOffset] = value
		if i == 8 {
			c.node.retainOnce(t.Context()) // writes a producer snapshot
		}
	}
	c.kill()
	return acked
}

func TestAcknowledgedBatchesSurvivePowerLossAtEveryStep(t *testing.T) {
	configs := map[string]string{"segment.bytes": "1048576"}
	whole := 0
	for off := 1; whole < 3; off++ {
		mem := newDisk()
		mem.CrashAtStep(off)
		c := newCluster(t, mem)
		id := pid(c.meta.create("orders", 1, configs), 0)
		acked := story(t, c, id)
		if mem.Steps() < off {
			whole++ // nothing was cut; the last bytes may still be torn
		}
		mem.PowerLoss(rand.New(rand.NewPCG(uint64(off), 1)))
		s := c.start()
		r := fetchFrom(t, s, id, 0)
		if r.Err != nil {
			t.Fatalf("power off at step %d: %v", off, r.Err)
		}
		got := values(t, r.Batches)
		for offset, value := range acked {
			if got[offset] != value {
				t.Fatalf("power off at step %d: offset %d was acknowledged and is lost; %d of %d are there", off, offset, len(got), len(acked))
			}
		}
		next := int32(len(got))
		if a := appendTo(t, s, id, batch(t, 1, "next", idempotent(1, 0, next)), storageclient.AcksAll); a.Err != nil || a.BaseOffset != int64(next) {
			t.Fatalf("power off at step %d: the producer cannot go on after %d: %+v", off, next, a)
		}
		c.stop()
		c.node = nil
	}
}

func TestFailedFsyncIsNeverAcknowledgedNorTriedAgain(t *testing.T) {
	disk := &failing{}
	c := newCluster(t, vfs.Faulty(newDisk(), disk.rule))
	topic := c.meta.create("orders", 2, nil)
	s := c.start()
	mustAppend(t, s, pid(topic, 0), batch(t, 1, "a", idempotent(1, 0, 0)))
	disk.sync.Store(true)
	for range 2 { // the second is a duplicate of what is not durable
		if r := appendTo(t, s, pid(topic, 0), batch(t, 1, "b", idempotent(1, 0, 1)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.StorageError) {
			t.Fatalf("got %+v", r)
		}
	}
	disk.sync.Store(false)
	if r := appendTo(t, s, pid(topic, 0), batch(t, 1, "c"), storageclient.AcksAll); !errcode.Is(r.Err, errcode.StorageError) {
		t.Fatalf("the fsync was tried again: %+v", r)
	}
	if r := fetchFrom(t, s, pid(topic, 0), 0); r.Err == nil && r.HighWatermark != 1 {
		t.Fatalf("the high watermark passed what is durable: %d", r.HighWatermark)
	}
	mustAppend(t, s, pid(topic, 1), batch(t, 1, "fine"))
	states, err := s.DescribeReplicas(t.Context(), []topicid.ID{topic})
	if err != nil || len(states) != 2 || !strings.HasPrefix(states[0].Fault, "STORAGE_ERROR") || states[1].Fault != "" {
		t.Fatalf("states %+v, %v", states, err)
	}
	c.kill()
	if r := fetchFrom(t, c.start(), pid(topic, 0), 0); r.Err != nil || values(t, r.Batches)[0] != "a" {
		t.Fatalf("after the restart: %+v", r)
	}
}

func TestFullDiskRefusesAndGoesOnOnceThereIsRoom(t *testing.T) {
	disk := &failing{}
	c := newCluster(t, vfs.Faulty(newDisk(), disk.rule))
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, id, batch(t, 1, "a"))
	disk.space.Store(true)
	for _, acks := range []storageclient.Acks{storageclient.AcksAll, storageclient.AcksLeader, storageclient.AcksNone} {
		if r := appendTo(t, s, id, batch(t, 1, "lost"), acks); !errcode.Is(r.Err, errcode.DiskFull) {
			t.Fatalf("acks %d: %+v", acks, r)
		}
	}
	disk.space.Store(false)
	if got := mustAppend(t, s, id, batch(t, 1, "b")); got != 1 {
		t.Fatalf("appended at %d, want 1", got)
	}
	c.kill()
	if got := values(t, fetchFrom(t, c.start(), id, 0).Batches); len(got) != 2 || got[1] != "b" {
		t.Fatalf("got %v", got)
	}
}

func TestDamagedLogIsReportedAndServesNothingPastTheDamage(t *testing.T) {
	mem := newDisk()
	c := newCluster(t, mem)
	topic := c.meta.create("orders", 2, nil)
	s := c.start()
	for _, value := range []string{"a", "b", "c"} {
		mustAppend(t, s, pid(topic, 0), batch(t, 1, value))
		mustAppend(t, s, pid(topic, 1), batch(t, 1, value))
	}
	flip(t, mem, s.partitionDir(pid(topic, 0)), len(batch(t, 1, "a"))+64)
	s = restart(c)
	r := fetchFrom(t, s, pid(topic, 0), 0)
	if got := values(t, r.Batches); r.Err == nil && (len(got) != 1 || got[0] != "a") {
		t.Fatalf("read %v", got)
	}
	if r := fetchFrom(t, s, pid(topic, 0), 1); !errcode.Is(r.Err, errcode.DataCorrupted) {
		t.Fatalf("past the damage: %v, %v", r.Err, values(t, r.Batches))
	}
	if r := appendTo(t, s, pid(topic, 0), batch(t, 1, "d"), storageclient.AcksAll); !errcode.Is(r.Err, errcode.DataCorrupted) {
		t.Fatalf("appended behind the damage: %+v", r)
	}
	mustAppend(t, s, pid(topic, 1), batch(t, 1, "d"))
	states, err := s.DescribeReplicas(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range states {
		if damaged := st.Index == 0; damaged != strings.HasPrefix(st.Fault, "DATA_CORRUPTED") {
			t.Fatalf("state %+v", st)
		}
	}
	if err := s.Ready(); err != nil {
		t.Fatalf("the process is not healthy: %v", err)
	}
	c.kill()
}

func restart(c *cluster) *Service {
	c.stop()
	return c.start()
}

// flip changes one byte of a partition's first segment.
func flip(t *testing.T, disk vfs.FS, dir string, at int) {
	t.Helper()
	f, err := disk.Open(dir + "/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
}
