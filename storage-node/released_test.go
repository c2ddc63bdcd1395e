package storagenode

import (
	"runtime"
	"slices"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// assign says which nodes hold a partition, as the end of a move does: in a new
// leader epoch (R17).
func (m *fakeController) assign(topic topicid.ID, nodes ...int32) {
	m.place(topic, nodes[0], nodes...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edit(func(v *metadataclient.View) { m.renew(v, topic, 0) })
}

// awaitRole returns once a node has taken on that it has, or has not, a replica.
func (c *replicas) awaitRole(id int32, topic topicid.ID, holds bool) {
	c.t.Helper()
	p := c.nodes[id].service.known(pid(topic, 0))
	for p.role.Load().holds(id) != holds || !c.nodes[id].service.resigned(p) {
		if c.t.Context().Err() != nil {
			c.t.Fatal("the test ended")
		}
		runtime.Gosched()
	}
}

func (c *replicas) hasData(id int32, topic topicid.ID) bool {
	c.t.Helper()
	names, err := c.nodes[id].disk.List("/data/" + partitionsDir)
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.Contains(names, topic.String()+"-0")
}

// TestDataThatWasMovedAwayIsDeleted, at once or by the next life of the node; and
// one that is moved back has all of it again.
func TestDataThatWasMovedAwayIsDeleted(t *testing.T) {
	for _, restart := range []bool{false, true} {
		c, topic := three(t, 2)
		c.nodes[3].service.releaseOnce()
		if !c.hasData(3, topic) {
			t.Fatal("a replica's data is gone")
		}
		if restart {
			c.kill(3)
		}
		c.meta.assign(topic, 1, 2)
		if restart {
			c.start(3)
		} else {
			c.awaitRole(3, topic, false)
		}
		c.produce(topic, 5, "without it")
		c.nodes[3].service.releaseOnce()
		if c.hasData(3, topic) || !c.hasData(1, topic) || !c.hasData(2, topic) {
			t.Errorf("restart %v: data on 1: %v, 2: %v, 3: %v", restart, c.hasData(1, topic), c.hasData(2, topic), c.hasData(3, topic))
		}
		c.meta.assign(topic, 1, 2, 3)
		c.meta.awaitISR(t, topic, 1, 2, 3)
		c.produce(topic, 6, "with it")
		c.sameLogs(topic, 1, 2, 3)
	}
}

// TestDataIsKeptWhereMetadataSaysLess: of a topic that is not there, of an
// assignment that is not of a later leader epoch, of one that nobody leads
// (invariant 17, rule N9).
func TestDataIsKeptWhereMetadataSaysLess(t *testing.T) {
	for name, edit := range map[string]func(c *replicas, topic topicid.ID){
		"the topic is not there": func(c *replicas, topic topicid.ID) {
			c.meta.mu.Lock()
			defer c.meta.mu.Unlock()
			c.meta.edit(func(v *metadataclient.View) { delete(v.TopicsByID, topic); delete(v.Topics, "orders") })
		},
		"metadata went back": func(c *replicas, topic topicid.ID) {
			c.meta.mu.Lock()
			defer c.meta.mu.Unlock()
			c.meta.edit(func(v *metadataclient.View) {
				t := *v.TopicsByID[topic]
				t.Partitions = []metadataclient.Partition{{Leader: 1, LeaderEpoch: 0, Replicas: []int32{1, 2}, ISR: []int32{1, 2}, MinISR: 2}}
				v.TopicsByID[topic], v.Topics["orders"] = &t, &t
			})
		},
		"nobody leads": func(c *replicas, topic topicid.ID) {
			c.meta.mu.Lock()
			defer c.meta.mu.Unlock()
			c.meta.edit(func(v *metadataclient.View) {
				t := *v.TopicsByID[topic]
				t.Partitions = []metadataclient.Partition{{Leader: -1, LeaderEpoch: 9, Replicas: []int32{1, 2}, MinISR: 2}}
				v.TopicsByID[topic], v.Topics["orders"] = &t, &t
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, topic := three(t, 2)
			c.kill(3)
			edit(c, topic)
			c.start(3)
			c.nodes[3].service.releaseOnce()
			if !c.hasData(3, topic) {
				t.Error("the data is gone")
			}
		})
	}
}
