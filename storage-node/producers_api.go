package storagenode

import (
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// DescribeProducers implements storageclient.Storage. Any replica answers, as
// Kafka's brokers do: a follower tells what it has replicated.
func (s *Service) DescribeProducers(ctx context.Context, partitions []storageclient.PartitionID) ([]storageclient.PartitionProducers, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	known := make([]storageclient.PartitionProducers, len(partitions))
	for i, id := range partitions {
		producers, err := s.describeProducers(id)
		if err != nil {
			known[i].Err = errcode.Of(err)
			continue
		}
		known[i].Producers = producers
	}
	return known, nil
}

func (s *Service) describeProducers(id storageclient.PartitionID) ([]storageclient.ProducerState, error) {
	p, err := s.partition(id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.openLocked(); err != nil {
		return nil, err
	}
	var out []storageclient.ProducerState
	for _, k := range p.producers.Describe() {
		out = append(out, storageclient.ProducerState{
			ProducerID: k.ProducerID, ProducerEpoch: k.Epoch, LastSequence: k.LastSequence,
			LastTimestampMs: k.TouchedMs, CoordinatorEpoch: k.CoordinatorEpoch, TransactionStart: k.TransactionStart,
		})
	}
	return out, nil
}
