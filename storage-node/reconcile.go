package storagenode

import (
	"context"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// watch reconciles the node to every change of metadata.
func (s *Service) watch(ctx context.Context) {
	for {
		changed := s.meta.Changed()
		s.reconcile()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// reconcile makes the node's partitions those that the newest view gives it.
// It only deletes what the view names as deleted: a topic that is merely not
// there may be one that this view does not know yet (invariant 17, rule N9).
func (s *Service) reconcile() {
	s.reconciling.Lock()
	defer s.reconciling.Unlock()
	view := s.meta.View() // under the lock, so that an older one is never applied after a newer
	moved := s.nodesChanged(view.Nodes)
	for id, t := range view.TopicsByID {
		if s.reconciled[id] != t || moved && replicated(t) {
			s.applyTopic(t, view.Nodes)
			s.reconciled[id] = t
		}
	}
	for id, name := range view.Deleted {
		if s.isCleared(id) {
			continue
		}
		cleared := true
		for _, p := range s.forgetTopic(id, name) {
			cleared = s.deletePartition(p) && cleared
		}
		if cleared {
			s.noteCleared(id)
		}
		if view.Topics[name] == nil { // one of the same name goes on counting
			s.metrics.forget(name)
		}
	}
	s.forgetCleared(view.Deleted)
	s.sawRevision(view.Revision)
}

// nodesChanged tells whether nodes came, went, or changed what they may be in.
func (s *Service) nodesChanged(nodes map[int32]*metadataclient.Node) bool {
	same := maps.EqualFunc(s.nodes, nodes, func(a, b *metadataclient.Node) bool {
		return a == b || a.Epoch == b.Epoch && a.Fenced == b.Fenced && a.Draining == b.Draining
	})
	s.nodes = nodes
	return !same
}

func replicated(t *metadataclient.Topic) bool {
	return slices.ContainsFunc(t.Partitions, func(p metadataclient.Partition) bool { return len(p.Replicas) > 1 })
}

// applyTopic gives the node's partitions of t their role.
func (s *Service) applyTopic(t *metadataclient.Topic, nodes map[int32]*metadataclient.Node) {
	cfg, err := topicconfig.Parse(t.Configs)
	if err != nil {
		s.log.Error("topic has configs that this node does not understand; defaults apply", telemetry.Topic(t.Name), telemetry.Err(err))
		cfg = topicconfig.Default()
	}
	var counters topicCounters // of topics that have partitions here; others cost no series
	for i := range t.Partitions {
		id := storageclient.PartitionID{Topic: t.ID, Index: int32(i)}
		p := s.known(id)
		if p == nil && !slices.Contains(t.Partitions[i].Replicas, s.cfg.NodeID) {
			continue
		}
		if counters.bytesIn == nil {
			counters = s.metrics.topic(t.Name)
		}
		r := newRole(t, id.Index, cfg, counters, nodes)
		if p == nil {
			p = &partition{node: s, id: id, dir: s.partitionDir(id)}
			p.role.Store(r)
			s.mu.Lock()
			s.partitions[id] = p
			s.mu.Unlock()
			p.attend(r)
			continue
		}
		p.assume(r)
	}
}

// partition finds the replica that a request names, or says why it is not
// here. A topic that metadata has just told of is found without waiting for
// watch to have seen it.
func (s *Service) partition(id storageclient.PartitionID) (*partition, error) {
	if p := s.known(id); p != nil {
		return p, nil
	}
	view := s.meta.View()
	if name, ok := view.Deleted[id.Topic]; ok {
		return nil, errcode.New(errcode.UnknownTopicID, "%s was deleted", name)
	}
	t := view.TopicsByID[id.Topic]
	if t == nil {
		return nil, errcode.New(errcode.UnknownTopicID, "no topic has id %s", id.Topic)
	}
	if id.Index < 0 || int(id.Index) >= len(t.Partitions) {
		return nil, errcode.New(errcode.UnknownPartition, "%s has %d partitions, %d is not one", t.Name, len(t.Partitions), id.Index)
	}
	if known := &t.Partitions[id.Index]; !slices.Contains(known.Replicas, s.cfg.NodeID) {
		return nil, errcode.New(errcode.NotLeader, "%s-%d is led by node %d", t.Name, id.Index, known.Leader).
			With("leader", known.Leader).With("leader_epoch", known.LeaderEpoch)
	}
	s.reconcile()
	if p := s.known(id); p != nil {
		return p, nil
	}
	return nil, errcode.New(errcode.UnknownTopicID, "the topic with id %s is gone", id.Topic)
}

func (s *Service) known(id storageclient.PartitionID) *partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.partitions[id]
}

// forgetTopic takes a deleted topic's partitions off the node's lists, those
// included that only have a directory.
func (s *Service) forgetTopic(id topicid.ID, name string) []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	indexes := maps.Clone(s.onDisk[id])
	if t := s.reconciled[id]; t != nil {
		if indexes == nil {
			indexes = map[int32]bool{}
		}
		for i := range t.Partitions {
			indexes[int32(i)] = true
		}
	}
	delete(s.reconciled, id)
	var gone []*partition
	for _, i := range slices.Sorted(maps.Keys(indexes)) {
		pid := storageclient.PartitionID{Topic: id, Index: i}
		p := s.partitions[pid]
		if p == nil {
			p = &partition{node: s, id: pid, dir: s.partitionDir(pid)}
			p.role.Store(&role{topic: name, leader: noLeader})
		}
		delete(s.partitions, pid)
		gone = append(gone, p)
	}
	return gone
}

// deletePartition deletes a partition's data. Where that fails the directory
// stays, and the next look tries again.
func (s *Service) deletePartition(p *partition) bool {
	r := p.role.Load()
	p.fault.Store(errcode.New(errcode.UnknownTopicID, "%s was deleted", r.topic))
	p.waiting.wakeAll()
	p.care.Lock()
	defer p.care.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave()
	if l := p.log.Load(); l != nil {
		_ = l.Close() // its files go the next moment
	}
	if err := removeDir(s.fs, p.dir); err != nil {
		s.log.Error("delete a partition's directory", telemetry.Path(p.dir), telemetry.Err(err))
		return false
	}
	s.forgetDir(p.id)
	s.log.Info("partition deleted", telemetry.Topic(r.topic), telemetry.Partition(p.id.Index), telemetry.TopicID(p.id.Topic.String()))
	return true
}

const partitionsDir = "partitions"

// partitionDir names a directory by the topic's id, so that a topic of the
// same name never meets the data of the one before (invariant 18).
func (s *Service) partitionDir(id storageclient.PartitionID) string {
	return path.Join(s.cfg.DataDir, partitionsDir, id.Topic.String()+"-"+itoa(id.Index))
}

// parsePartitionDir is the way back. An id may hold dashes too.
func parsePartitionDir(name string) (storageclient.PartitionID, bool) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 {
		return storageclient.PartitionID{}, false
	}
	topic, err := topicid.Parse(name[:at])
	index, err2 := strconv.ParseInt(name[at+1:], 10, 32)
	if err != nil || err2 != nil || index < 0 {
		return storageclient.PartitionID{}, false
	}
	return storageclient.PartitionID{Topic: topic, Index: int32(index)}, true
}

func (s *Service) forgetDir(id storageclient.PartitionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.onDisk[id.Topic], id.Index)
	if len(s.onDisk[id.Topic]) == 0 {
		delete(s.onDisk, id.Topic)
	}
}

// noteDir remembers that a partition has a directory.
func (s *Service) noteDir(id storageclient.PartitionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onDisk[id.Topic] == nil {
		s.onDisk[id.Topic] = map[int32]bool{}
	}
	s.onDisk[id.Topic][id.Index] = true
}
