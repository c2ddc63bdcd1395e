package storagenode

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// DescribeReplicas implements storageclient.Storage. A replica that was not
// used since the start is opened for it: only then its offsets are known.
func (s *Service) DescribeReplicas(ctx context.Context, topics []topicid.ID) ([]storageclient.ReplicaState, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	var states []storageclient.ReplicaState
	for _, p := range s.snapshot() {
		if len(topics) == 0 || slices.Contains(topics, p.id.Topic) {
			_, _ = p.open() // a fault is in the state
			states = append(states, p.state())
		}
	}
	return states, nil
}

func (p *partition) state() storageclient.ReplicaState {
	st := storageclient.ReplicaState{PartitionID: p.id, HighWatermark: p.highWatermark.Load()}
	st.LastStableOffset, st.Leads = p.lastStable(), p.role.Load().leader == p.node.cfg.NodeID
	if l := p.log.Load(); l != nil {
		st.SizeBytes, st.SegmentCount = l.Size(), int32(l.SegmentCount())
		st.LogStartOffset, st.LogEndOffset = l.StartOffset(), l.EndOffset()
	}
	if f := p.fault.Load(); f != nil {
		st.Fault = string(f.Reason) + ": " + f.Message
	}
	return st
}

// snapshot returns the partitions by topic id and index.
func (s *Service) snapshot() []*partition {
	s.mu.RLock()
	all := make([]*partition, 0, len(s.partitions))
	for _, p := range s.partitions {
		all = append(all, p)
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *partition) int {
		return cmp.Or(bytes.Compare(a.id.Topic[:], b.id.Topic[:]), cmp.Compare(a.id.Index, b.id.Index))
	})
	return all
}
