package storagenode

import (
	"bytes"
	"cmp"
	"slices"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

// releaseOnce deletes the data of replicas that were moved to other nodes. A
// partition that metadata does not know, or whose log cannot be read, is left
// alone (rule N9). Nobody reconciles meanwhile: a replica that is moved back
// begins after this, with nothing.
func (s *Service) releaseOnce() {
	s.reconciling.Lock()
	defer s.reconciling.Unlock()
	view := s.meta.View()
	for _, id := range s.dirs() {
		t := view.TopicsByID[id.Topic]
		if t == nil || int(id.Index) >= len(t.Partitions) || slices.Contains(t.Partitions[id.Index].Replicas, s.cfg.NodeID) || s.kept[id] {
			continue
		}
		if p := s.known(id); p == nil || s.resigned(p) {
			s.release(id, p, t)
		}
	}
}

// resigned tells whether a replica has taken on that it is none any more.
func (s *Service) resigned(p *partition) bool {
	if p.role.Load().holds(s.cfg.NodeID) {
		return false
	}
	return p.log.Load() == nil || p.replica.is(p.tenure())
}

// release deletes what is left of one partition here, if metadata lets it. p is
// nil where it is of an earlier life of the node. The caller holds reconciling.
func (s *Service) release(id storageclient.PartitionID, p *partition, t *metadataclient.Topic) {
	if p == nil {
		p = &partition{node: s, id: id, dir: s.partitionDir(id)}
		p.role.Store(&role{topic: t.Name, leader: noLeader})
	}
	last, err := p.lastEpoch()
	if err != nil {
		s.kept[id] = true
		s.log.Warn("replica was moved to other nodes, and its log cannot be read: it is left as it is", telemetry.Topic(t.Name),
			telemetry.Partition(id.Index), telemetry.Path(p.dir), telemetry.Err(err))
		return
	}
	in := &t.Partitions[id.Index]
	a := replication.Assignment{
		Replicas: in.Replicas, ISR: in.ISR, Leader: in.Leader, LeaderEpoch: in.LeaderEpoch, MinISR: in.MinISR,
		Moving: len(in.Adding)+len(in.Removing) > 0,
	}
	if !a.Releases(s.cfg.NodeID, last) {
		return
	}
	s.log.Info("replica was moved to other nodes and goes here", telemetry.Topic(t.Name), telemetry.Partition(id.Index),
		telemetry.LeaderEpoch(in.LeaderEpoch))
	s.mu.Lock()
	delete(s.partitions, id)
	s.mu.Unlock()
	s.deletePartition(p) // where it fails, the next look tries again
}

// lastEpoch is the newest leader epoch of the log, -1 where it has no record.
func (p *partition) lastEpoch() (int32, error) {
	if l := p.log.Load(); l != nil {
		return l.LatestEpoch(), nil
	}
	l, _, err := commitlog.Open(p.node.fs, p.dir, commitlog.DefaultConfig(), p.node.files)
	if err != nil {
		return 0, err
	}
	last := l.LatestEpoch()
	return last, l.Abandon()
}

// dirs lists the partitions that have a directory.
func (s *Service) dirs() []storageclient.PartitionID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []storageclient.PartitionID
	for topic, indexes := range s.onDisk {
		for index := range indexes {
			all = append(all, storageclient.PartitionID{Topic: topic, Index: index})
		}
	}
	slices.SortFunc(all, func(a, b storageclient.PartitionID) int {
		return cmp.Or(bytes.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Index, b.Index))
	})
	return all
}
