package storagenode

import (
	"sync/atomic"
	"syscall"
	"testing"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/vfs"
)

// highWatermarkOf opens a replica and tells its high watermark.
func (c *replicas) highWatermarkOf(id int32, topic topicid.ID) int64 {
	c.t.Helper()
	c.logOf(id, topic)
	return c.nodes[id].service.known(pid(topic, 0)).highWatermark.Load()
}

// TestHighWatermarkOutlivesTheProcess: a follower that was killed knows what was
// committed before it hears of any leader.
func TestHighWatermarkOutlivesTheProcess(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 3, nil, 1, 2, 3)
	for i := range int32(5) {
		c.produce(topic, i, "value")
	}
	known := c.highWatermarkOf(2, topic) // a little behind the leader's
	if err := c.nodes[1].service.marks.write(); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[2].service.marks.write(); err != nil {
		t.Fatal(err)
	}
	for id := range int32(3) {
		c.kill(1 + id)
		c.meta.fence(1 + id)
	}
	c.start(1)
	if got := c.highWatermarkOf(1, topic); got != 5 {
		t.Errorf("the former leader knows %d, want 5", got)
	}
	c.start(2)
	if got := c.highWatermarkOf(2, topic); got < known {
		t.Errorf("the follower knew %d, now %d", known, got)
	}
}

// TestHighWatermarkOfACutLogIsForgottenFirst: other records may stand below it
// after a crash (R13).
func TestHighWatermarkOfACutLogIsForgottenFirst(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	for range 3 {
		mustAppend(t, s, id, batch(t, 1, "x"))
	}
	if err := s.marks.write(); err != nil {
		t.Fatal(err)
	}
	p := s.known(id)
	p.mu.Lock()
	_ = p.warnOfLoss(true, 1)
	p.mu.Unlock()
	c.kill()
	next := c.newNode()
	if err := next.marks.read(); err != nil {
		t.Fatal(err)
	}
	if got := next.marks.of(id); got != 1 {
		t.Errorf("high watermark %d is remembered of a log that was cut at 1", got)
	}
}

func TestDamagedHighWatermarksAreAsGoodAsNone(t *testing.T) {
	c := newCluster(t, newDisk())
	id := pid(c.meta.create("orders", 1, nil), 0)
	mustAppend(t, c.start(), id, batch(t, 1, "x"))
	c.stop()
	b, err := readFile(c.fs, "/data/"+checkpointFile)
	if err != nil {
		t.Fatal(err)
	}
	if marks, err := parseCheckpoint(b); err != nil || marks[id] != 1 {
		t.Fatalf("%q says %v, %v", b, marks, err)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-2], []byte(checkSum([]byte("x 1\n")) + "\nx 1\n")} {
		if marks, err := parseCheckpoint(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, marks)
		}
	}
	if err := writeFile(c.fs, "/data/"+checkpointFile, b[3:]); err != nil {
		t.Fatal(err)
	}
	s := c.start()
	mustAppend(t, s, id, batch(t, 1, "y"))
}

// TestStopMovesLeadershipFirst: when Drain returns another leads, and the node has
// answered until then (N5).
func TestStopMovesLeadershipFirst(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	c.produce(topic, 0, "value")
	s := c.nodes[1].service
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := c.meta.partition(topic); p.Leader == 1 || len(p.ISR) != 2 {
		t.Errorf("after the stop: %+v", p)
	}
	if s.Ready() == nil {
		t.Error("the node takes new work")
	}
	c.produce(topic, 1, "value")
}

// TestDeletedTopicIsToldOfOnceNothingIsLeft: where the data cannot be deleted the
// tombstone must stay.
func TestDeletedTopicIsToldOfOnceNothingIsLeft(t *testing.T) {
	var stuck atomic.Bool
	c := newCluster(t, vfs.Faulty(newDisk(), func(op vfs.Op) error {
		if stuck.Load() && op.Kind == vfs.OpSyncDir {
			return syscall.EIO
		}
		return nil
	}))
	id := pid(c.meta.create("orders", 1, nil), 0)
	s := c.start()
	mustAppend(t, s, id, batch(t, 1, "x"))
	told := func() bool {
		s.reconcile()
		if _, err := s.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(c.meta.lastBeat().DeletedTopics) == 1
	}
	if told() {
		t.Error("told of a topic that is there")
	}
	c.meta.remove("orders", true)
	stuck.Store(true)
	if told() {
		t.Error("told of a topic that could not be deleted")
	}
	stuck.Store(false)
	if !told() {
		t.Error("nothing is left, and the controller is not told")
	}
	c.meta.change(func(v *metadataclient.View) { delete(v.Deleted, id.Topic) })
	if told() {
		t.Error("told of what metadata has forgotten")
	}
}

// TestNodeTellsThatTheKernelHasNotRestarted (N3a).
func TestNodeTellsThatTheKernelHasNotRestarted(t *testing.T) {
	for _, same := range []bool{true, false} {
		disk := newDisk()
		boot := func(id string) {
			t.Helper()
			if err := disk.MkdirAll("/proc/sys/kernel/random"); err != nil {
				t.Fatal(err)
			}
			if err := writePlain(disk, "/proc/sys/kernel/random/boot_id", []byte(id)); err != nil {
				t.Fatal(err)
			}
		}
		boot("one")
		c := newCluster(t, disk)
		c.start()
		c.kill()
		if !same {
			boot("two")
		}
		c.start()
		last := c.meta.asked[len(c.meta.asked)-1]
		if last.SameBoot != same || (last.PreviousNodeEpoch == 1) != same {
			t.Errorf("same boot %t: registered with %v", same, last)
		}
		c.stop()
	}
}

func (m *fakeMetadata) lastBeat() *metadatav1.HeartbeatRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.beats[len(m.beats)-1]
}
