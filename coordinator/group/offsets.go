package group

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"moldau.dev/coordinator/journal"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
)

// offsetID names one offset. Offsets are kept by the topic's name; each knows
// the incarnation of the topic that it was committed for.
type offsetID struct {
	group, topic string
	partition    int32
}

func (id offsetID) key() []string {
	return []string{id.group, id.topic, strconv.Itoa(int(id.partition))}
}

func (id offsetID) pendingKey(pid int64) []string {
	return append([]string{strconv.FormatInt(pid, 10)}, id.key()...)
}

// size is about what the offset's record takes with no value.
func (id offsetID) size() int { return len(id.group) + len(id.topic) + offsetOverhead }

const offsetOverhead = 48

// offsetKey is the way back from offsetID.key.
func offsetKey(parts []string) (offsetID, error) {
	n, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || n < 0 {
		return offsetID{}, fmt.Errorf("partition %q of an offset", parts[2])
	}
	return offsetID{parts[0], parts[1], int32(n)}, nil
}

// offset is one committed offset. It is never changed.
type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	commitMs    int64
	expireMs    int64 // -1: as the group's
	topicID     topicid.ID
	order       int64 // of all commits of the shard
}

// pendingOffset is one that waits for its transaction (T13).
type pendingOffset struct {
	epoch       int32 // of the producer
	coordinator int64 // epoch of the transaction's shard that knew of it
	*offset
}

// bytes is about what the end of its transaction writes.
func (p *pendingOffset) bytes(id offsetID) int { return 2*id.size() + len(p.metadata) + offsetOverhead }

// offsets are those of all groups of a shard.
type offsets struct {
	groups    map[string]*groupOffsets
	pending   map[int64]map[offsetID]pendingOffset // by producer id
	held      map[offsetID]int                     // by how many producers an offset is held
	open      map[string]int                       // pending offsets by group
	waiting   map[int64]int                        // bytes that the end of a producer's transaction writes
	lastOrder int64
}

// groupOffsets are those of one group.
type groupOffsets struct {
	topics map[string]map[int32]*offset
	count  int
	bytes  int // about what the records of their deletion take
}

func newOffsets() offsets {
	return offsets{
		groups: map[string]*groupOffsets{}, pending: map[int64]map[offsetID]pendingOffset{},
		held: map[offsetID]int{}, open: map[string]int{}, waiting: map[int64]int{},
	}
}

func (o *offsets) get(id offsetID) *offset {
	if g := o.groups[id.group]; g != nil {
		return g.topics[id.topic][id.partition]
	}
	return nil
}

func (o *offsets) put(id offsetID, x *offset) {
	g := o.groups[id.group]
	if g == nil {
		g = &groupOffsets{topics: map[string]map[int32]*offset{}}
		o.groups[id.group] = g
	}
	t := g.topics[id.topic]
	if t == nil {
		t = map[int32]*offset{}
		g.topics[id.topic] = t
	}
	if t[id.partition] == nil {
		g.count++
		g.bytes += id.size()
	}
	t[id.partition] = x
	o.lastOrder = max(o.lastOrder, x.order)
}

func (o *offsets) drop(id offsetID) {
	if o.get(id) == nil {
		return
	}
	g := o.groups[id.group]
	delete(g.topics[id.topic], id.partition)
	if len(g.topics[id.topic]) == 0 {
		delete(g.topics, id.topic)
	}
	g.bytes -= id.size()
	if g.count--; g.count == 0 {
		delete(o.groups, id.group)
	}
}

func (o *offsets) putPending(pid int64, id offsetID, x pendingOffset) {
	if o.pending[pid] == nil {
		o.pending[pid] = map[offsetID]pendingOffset{}
	}
	if old, has := o.pending[pid][id]; has {
		o.waiting[pid] -= old.bytes(id)
	} else {
		o.held[id]++
		o.open[id.group]++
	}
	o.waiting[pid] += x.bytes(id)
	o.pending[pid][id] = x
	o.lastOrder = max(o.lastOrder, x.order)
}

func (o *offsets) dropPending(pid int64, id offsetID) {
	x, has := o.pending[pid][id]
	if !has {
		return
	}
	delete(o.pending[pid], id)
	o.waiting[pid] -= x.bytes(id)
	if len(o.pending[pid]) == 0 {
		delete(o.pending, pid)
		delete(o.waiting, pid)
	}
	if o.held[id]--; o.held[id] == 0 {
		delete(o.held, id)
	}
	if o.open[id.group]--; o.open[id.group] == 0 {
		delete(o.open, id.group)
	}
}

// of returns the ids of a group's offsets, by topic and partition.
func (o *offsets) of(group string) (ids []offsetID) {
	g := o.groups[group]
	if g == nil {
		return nil
	}
	for _, topic := range sortedKeys(g.topics) {
		for _, p := range sortedKeys(g.topics[topic]) {
			ids = append(ids, offsetID{group, topic, p})
		}
	}
	return ids
}

func sortedOffsets[V any](m map[offsetID]V) []offsetID {
	return slices.SortedFunc(maps.Keys(m), func(a, b offsetID) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
}

func (x *offset) proto() *coordinatorv1.OffsetRecord {
	r := &coordinatorv1.OffsetRecord{
		Offset: x.offset, LeaderEpoch: x.leaderEpoch, Metadata: x.metadata, CommitTimeMs: x.commitMs, ExpireTimeMs: x.expireMs, Order: x.order,
	}
	if !x.topicID.IsZero() {
		r.TopicId = x.topicID[:]
	}
	return r
}

func offsetFromProto(r *coordinatorv1.OffsetRecord) (*offset, error) {
	x := &offset{
		offset: r.GetOffset(), leaderEpoch: r.GetLeaderEpoch(), metadata: r.GetMetadata(),
		commitMs: r.GetCommitTimeMs(), expireMs: r.GetExpireTimeMs(), order: r.GetOrder(),
	}
	var err error
	if len(r.GetTopicId()) > 0 {
		x.topicID, err = topicid.FromBytes(r.GetTopicId())
	}
	return x, err
}

func (m *Machine) replayOffset(key []string, r *coordinatorv1.OffsetRecord) error {
	id, err := offsetKey(key)
	if err != nil {
		return err
	}
	x, err := offsetFromProto(r)
	if err == nil {
		m.offsets.put(id, x)
	}
	return err
}

func (m *Machine) replayPending(key []string, r *coordinatorv1.PendingOffsetRecord) error {
	pid, err := strconv.ParseInt(key[0], 10, 64)
	if err != nil {
		return err
	}
	id, err := offsetKey(key[1:])
	if err != nil {
		return err
	}
	x, err := offsetFromProto(r.GetOffset())
	if err == nil {
		m.offsets.putPending(pid, id, pendingOffset{r.GetProducerEpoch(), r.GetCoordinatorEpoch(), x})
	}
	return err
}

// storeOffset commits an offset, durably.
func (m *Machine) storeOffset(id offsetID, x *offset) {
	m.offsets.put(id, x)
	m.counts.Commits++
	m.write(journal.Put(kindOffset, x.proto(), id.key()...))
}

// forgetOffset deletes an offset, and what of it waits for transactions.
func (m *Machine) forgetOffset(id offsetID) {
	if m.offsets.get(id) != nil {
		m.offsets.drop(id)
		m.write(journal.Drop(kindOffset, id.key()...))
	}
	if m.offsets.held[id] == 0 {
		return
	}
	for _, pid := range sortedKeys(m.offsets.pending) {
		if _, has := m.offsets.pending[pid][id]; has {
			m.forgetPending(pid, id)
		}
	}
}

func (m *Machine) forgetPending(pid int64, id offsetID) {
	m.offsets.dropPending(pid, id)
	m.write(journal.Drop(kindPending, id.pendingKey(pid)...))
}
