package simulator

import (
	"fmt"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// outputs is how many partitions transactions write to.
const outputs = 2

// coordinate adds coordinators, and producers and readers of transactions.
func (w *World) coordinate() {
	t := &metadataclient.Topic{ID: topicID, Name: topicName, Partitions: make([]metadataclient.Partition, w.inputs)}
	w.topics = map[string]*metadataclient.Topic{topicName: t}
	w.topicsByID = map[topicid.ID]*metadataclient.Topic{topicID: t}
	for i := range int32(2 + w.rng.IntN(2)) {
		c := &coordinator{w: w, id: i}
		c.proc = w.process(fmt.Sprintf("coordinator %d", i), c.start, c.end)
		w.coordinators = append(w.coordinators, c)
	}
	for i := range 3 {
		a := &spreader{id: fmt.Sprintf("atomic-%d", i)}
		w.client(a.work)
		w.tasks = append(w.tasks, a.waits)
	}
	for _, n := range w.outputs() {
		r := &reader{part: n, committed: true}
		w.client(r.work)
		w.tasks = append(w.tasks, func() string { return r.waits(w) })
	}
}

// outputs are the partitions that transactions write to.
func (w *World) outputs() (parts []int) {
	for i := range outputs {
		parts = append(parts, w.inputs+i)
	}
	return parts
}

// journal is the partition that keeps a machine's journal.
func (w *World) journal(kind shardKind, shard int) int {
	return w.inputs + outputs + int(kind)*w.shards + shard
}

// shardOf is the shard whose journal a partition is.
func (w *World) shardOf(part int) (shard int, ok bool) {
	if part -= w.inputs + outputs; part < 0 || w.shards == 0 {
		return 0, false
	}
	return part % w.shards, true
}

// firstGuard is where the guards of a replica's life begin, far from those of
// any other.
func (w *World) firstGuard() int64 {
	if w.shards == 0 {
		return 1
	}
	return w.rng.Int64N(1<<62) + 1
}

// viewOf is what coordinators see of an image.
func (w *World) viewOf(i *image) *metadataclient.View {
	if i.view != nil {
		return i.view
	}
	v := &metadataclient.View{
		ClusterID: i.state.ClusterID, Revision: i.revision, Topics: w.topics, TopicsByID: w.topicsByID,
		Settings: &metadataclient.Settings{}, Coordinators: map[int32]*metadataclient.Coordinator{},
	}
	for id, c := range i.state.Coordinators {
		v.Coordinators[id] = &metadataclient.Coordinator{ID: id, Incarnation: c.Incarnation, Address: c.Address, Fenced: c.Fenced}
	}
	for _, s := range i.state.Shards {
		v.Shards = append(v.Shards, metadataclient.Shard{Owner: s.Owner, Epoch: s.Epoch})
	}
	i.view = v
	return v
}
