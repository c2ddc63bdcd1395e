package storagenode

import (
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// quarantined lists what is in a node's quarantine.
func (c *replicas) quarantined(id int32) []string {
	c.t.Helper()
	names, err := c.nodes[id].disk.List("/data/" + quarantineDir)
	if err != nil && !isNotExist(err) {
		c.t.Fatal(err)
	}
	return names
}

// three is three nodes with a topic on all, and five records in it.
func three(t *testing.T, minISR int32) (*replicas, topicid.ID) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", minISR, nil, 1, 2, 3)
	for i := range int32(5) {
		c.produce(topic, i, "value")
	}
	return c, topic
}

// awaitMended returns once a replica was reported, and all are in sync again.
func (c *replicas) awaitMended(topic topicid.ID, before int32) {
	c.t.Helper()
	c.meta.await(c.t, topic, func(p metadataclient.Partition) bool {
		return p.LeaderEpoch > before && slices.Equal(slices.Sorted(slices.Values(p.ISR)), []int32{1, 2, 3})
	})
}

// TestDamagedReplicaIsCopiedAnew: a byte of a follower's log, then of a leader's,
// is spoilt on the disk. A look finds it, others lead, what is damaged goes to
// quarantine, and the replica is copied from the leader (N6, invariant 13).
func TestDamagedReplicaIsCopiedAnew(t *testing.T) {
	for node, role := range map[int32]string{2: "follower", 1: "leader"} {
		t.Run(role, func(t *testing.T) {
			c, topic := three(t, 2)
			s := c.nodes[node].service
			epoch := c.meta.partition(topic).LeaderEpoch
			flip(t, c.nodes[node].disk, s.partitionDir(pid(topic, 0)), 70)
			s.scrubOnce(t.Context())
			c.awaitMended(topic, epoch)
			if leads := c.meta.partition(topic).Leader; leads == node {
				t.Errorf("node %d leads on", node)
			}
			for i := range int32(5) {
				if got := c.produce(topic, 5+i, "after"); got != int64(5+i) {
					t.Errorf("appended at %d, want %d", got, 5+i)
				}
			}
			c.sameLogs(topic, 1, 2, 3)
			if got := c.quarantined(node); len(got) != 1 || !strings.HasPrefix(got[0], topic.String()) {
				t.Errorf("in quarantine: %v", got)
			}
			c.meta.move(topic, node)
			c.produce(topic, 10, "from the one that was copied")
			c.kill(node)
			c.start(node)
			c.meta.awaitISR(t, topic, 1, 2, 3)
			c.sameLogs(topic, 1, 2, 3)
		})
	}
}

// TestDamageFoundAtTheStartIsCopiedAnew: the log was spoilt while the process was
// away, before what recovery cuts as a torn tail.
func TestDamageFoundAtTheStartIsCopiedAnew(t *testing.T) {
	c, topic := three(t, 2)
	dir := c.nodes[2].service.partitionDir(pid(topic, 0))
	epoch := c.meta.partition(topic).LeaderEpoch
	c.kill(2)
	flip(t, c.nodes[2].disk, dir, 70)
	c.start(2)
	c.awaitMended(topic, epoch)
	c.produce(topic, 5, "after")
	c.sameLogs(topic, 1, 2, 3)
	if got := c.quarantined(2); len(got) != 1 {
		t.Errorf("in quarantine: %v", got)
	}
}

// TestDamagedOnlyReplicaIsKept: whose damage would be lost with it stays where it
// is, out of service, and says why.
func TestDamagedOnlyReplicaIsKept(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 1, nil, 1)
	c.produce(topic, 0, "value")
	s := c.nodes[1].service
	flip(t, c.nodes[1].disk, s.partitionDir(pid(topic, 0)), 70)
	s.scrubOnce(t.Context())
	s.mender.round(t.Context())
	r := appendTo(t, s, pid(topic, 0), batch(t, 1, "more", idempotent(7, 0, 1)), storageclient.AcksAll)
	if !errcode.Is(r.Err, errcode.DataCorrupted) {
		t.Errorf("append: %+v", r)
	}
	if p := c.meta.partition(topic); p.Leader != 1 || len(c.meta.reports) > 0 || len(c.quarantined(1)) > 0 {
		t.Errorf("%+v, reports %v, in quarantine %v", p, c.meta.reports, c.quarantined(1))
	}
}

// TestFailedFsyncHandsOver: the leader's disk fails to fsync once; another leads,
// and the replica is copied anew, as its page cache cannot be trusted (N7).
func TestFailedFsyncHandsOver(t *testing.T) {
	c := newReplicas(t)
	disk := &failing{}
	c.nodes[1].fs = vfs.Faulty(c.nodes[1].disk, disk.rule)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	c.produce(topic, 0, "value")
	disk.sync.Store(true)
	r := appendTo(t, c.nodes[1].service, pid(topic, 0), batch(t, 1, "value", idempotent(7, 0, 1)), storageclient.AcksAll)
	if r.Err == nil {
		t.Fatalf("got %+v", r)
	}
	disk.sync.Store(false)
	c.meta.await(t, topic, func(p metadataclient.Partition) bool { return p.Leader != 1 })
	c.produce(topic, 1, "value")
	c.meta.awaitISR(t, topic, 1, 2, 3)
	c.produce(topic, 2, "after")
	c.sameLogs(topic, 1, 2, 3)
}

// TestFullDiskHandsOver: the leader has no room; another leads, nothing goes to
// quarantine, and the replica follows on once there is room (N8).
func TestFullDiskHandsOver(t *testing.T) {
	c := newReplicas(t)
	var full atomic.Bool
	c.nodes[1].fs = vfs.Faulty(c.nodes[1].disk, func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
			return syscall.ENOSPC
		}
		return nil
	})
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	c.produce(topic, 0, "value")
	full.Store(true)
	if r := appendTo(t, c.nodes[1].service, pid(topic, 0), batch(t, 1, "value", idempotent(7, 0, 1)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.DiskFull) {
		t.Fatalf("got %+v", r)
	}
	c.meta.await(t, topic, func(p metadataclient.Partition) bool { return p.Leader != 1 })
	c.produce(topic, 1, "value") // it may be in sync again, until it lacks something
	c.meta.await(t, topic, func(p metadataclient.Partition) bool { return !slices.Contains(p.ISR, 1) })
	full.Store(false)
	c.meta.awaitISR(t, topic, 1, 2, 3)
	c.produce(topic, 2, "after")
	c.sameLogs(topic, 1, 2, 3)
	if got := c.quarantined(1); len(got) > 0 {
		t.Errorf("in quarantine: %v", got)
	}
}

// TestReplicaThatCannotBeOpenedForWantOfRoomIsTriedAgain: the process has no file
// left to open, or the disk no room. What is there is as it was, so nothing goes
// to quarantine, and the replica follows once it can (N8).
func TestReplicaThatCannotBeOpenedForWantOfRoomIsTriedAgain(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			c := newReplicas(t)
			var without atomic.Bool
			c.nodes[1].fs = vfs.Faulty(c.nodes[1].disk, func(op vfs.Op) error {
				if without.Load() && op.Kind == vfs.OpCreate {
					return syscall.Errno(errno)
				}
				return nil
			})
			c.start(1, 2, 3)
			without.Store(true)
			topic := c.meta.create("orders", 2, nil, 2, 1, 3)
			c.meta.await(t, topic, func(p metadataclient.Partition) bool { return !slices.Contains(p.ISR, 1) })
			c.produce(topic, 0, "value")
			without.Store(false)
			c.meta.awaitISR(t, topic, 1, 2, 3)
			c.produce(topic, 1, "after")
			c.sameLogs(topic, 1, 2, 3)
			if got := c.quarantined(1); len(got) > 0 {
				t.Errorf("in quarantine: %v", got)
			}
		})
	}
}
