package storagenode

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/vfs"
)

// place says which nodes hold a partition, and who of them leads.
func (m *fakeController) place(topic topicid.ID, leader int32, nodes ...int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edit(func(v *metadataclient.View) {
		isr := slices.DeleteFunc(slices.Clone(v.TopicsByID[topic].Partitions[0].ISR), func(id int32) bool {
			return !slices.Contains(nodes, id)
		})
		m.change(v, topic, 0, isr, leader, 0)
		t := *v.TopicsByID[topic]
		t.Partitions = slices.Clone(t.Partitions)
		t.Partitions[0].Replicas = nodes
		t.Partitions[0].PartitionEpoch++
		v.TopicsByID[topic], v.Topics[t.Name] = &t, &t
	})
}

// TestReplicaThatIsMovedAwayAndBackFollowsAgain, whether it led before, so that
// it saw the epoch after without having a replica, or followed.
func TestReplicaThatIsMovedAwayAndBackFollowsAgain(t *testing.T) {
	for name, first := range map[string]int32{"a leader": 3, "a follower": 1} {
		t.Run(name, func(t *testing.T) {
			c := newReplicas(t)
			c.start(1, 2, 3)
			topic := c.meta.create("orders", 2, nil, 1, 2, 3)
			c.produce(topic, 0, "value")
			c.meta.move(topic, first)
			c.produce(topic, 1, "value")
			c.meta.place(topic, 1, 1, 2)
			p, err := c.nodes[3].service.partition(pid(topic, 0))
			if err != nil {
				t.Fatal(err)
			}
			for p.role.Load().holds(3) { // its own view comes a moment later
				if _, err := p.open(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := p.open(); err != nil {
				t.Fatal(err)
			}
			c.produce(topic, 2, "value")
			c.meta.place(topic, 1, 1, 2, 3)
			c.produce(topic, 3, "value")
			c.meta.awaitISR(t, topic, 1, 2, 3)
			c.produce(topic, 4, "value")
			c.sameLogs(topic, 1, 2, 3)
		})
	}
}

// TestFollowerThatChangesLeadersEndsNoOther: handles are of one link, and the
// first session of two links has the same.
func TestFollowerThatChangesLeadersEndsNoOther(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	stays := c.meta.create("stays", 2, nil, 1, 2)
	c.produce(stays, 0, "value")
	moves := c.meta.create("moves", 2, nil, 3, 2, 1)
	c.produce(moves, 0, "value")
	c.meta.move(moves, 1)
	c.produce(moves, 1, "value")
	c.produce(stays, 1, "value") // has to be acknowledged by node 2
	c.sameLogs(stays, 1, 2)
}

// TestFlushThatWasUnderWayCountsForTheNewLeader: a leader that begins while its
// disk still syncs what it wrote as a follower commits that with no append after
// it. Found when a new leader committed nothing for minutes.
func TestFlushThatWasUnderWayCountsForTheNewLeader(t *testing.T) {
	c := newReplicas(t)
	var slow atomic.Bool
	syncing, synced := make(chan struct{}, 1), make(chan struct{})
	c.nodes[2].fs = vfs.Faulty(c.nodes[2].disk, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") && slow.CompareAndSwap(true, false) {
			syncing <- struct{}{}
			<-synced
		}
		return nil
	})
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	c.produce(topic, 0, "value")
	slow.Store(true)
	var sender sync.WaitGroup
	sender.Go(func() { c.produce(topic, 1, "value") })
	<-syncing
	c.meta.move(topic, 2)
	p, err := c.nodes[2].service.partition(pid(topic, 0))
	if err != nil {
		t.Fatal(err)
	}
	for !p.leadsNow() {
		runtime.Gosched()
	}
	close(synced)
	sender.Wait()
	c.sameLogs(topic, 1, 2, 3)
}

// leadsNow tells whether the replica's core is a leader's.
func (p *partition) leadsNow() bool {
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	return p.replica.leader != nil
}
