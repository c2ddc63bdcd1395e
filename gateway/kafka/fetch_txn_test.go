package kafka_test

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/storage-node/storageclient"
)

// fixed is a node that gives each partition the same, and remembers what it was
// asked last.
type fixed struct {
	storageclient.Storage

	mu     sync.Mutex
	result storageclient.FetchResult
	asked  storageclient.FetchRequest
}

func (f *fixed) Fetch(_ context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = *req
	results := make([]storageclient.FetchResult, len(req.Partitions))
	for i := range results {
		results[i] = f.result
	}
	return storageclient.NewFetchResponse(results, nil), nil
}

func (f *fixed) last() storageclient.FetchRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func TestItem28CommittedReadsComeWithWhatWasAborted(t *testing.T) {
	f := newFakes(t)
	node := &fixed{Storage: f.storage, result: storageclient.FetchResult{
		Batches: batch("x"), HighWatermark: 9, LastStableOffset: 7,
		Aborted: []storageclient.AbortedTransaction{{ProducerID: 5, FirstOffset: 1}, {ProducerID: 3, FirstOffset: 4}},
	}}
	f.nodes.Set(1, node)
	s := f.gateway(4)
	topic := f.topic("t", 1)
	for version := int16(4); version <= 18; version++ {
		for _, committed := range []bool{true, false} {
			req := fetchOf("t", 0, 0)
			req.Version, req.Topics[0].TopicID = version, topic.ID
			if committed {
				req.IsolationLevel = 1
			}
			got := askAt[*kmsg.FetchResponse](t, s, req).Topics[0].Partitions[0]
			if node.last().ReadCommitted != committed {
				t.Errorf("version %d: committed %v was asked as %v", version, committed, node.last().ReadCommitted)
			}
			if got.LastStableOffset != 7 || got.HighWatermark != 9 {
				t.Errorf("version %d: %+v", version, got)
			}
			if a := got.AbortedTransactions; committed && (len(a) != 2 || a[0].ProducerID != 5 || a[0].FirstOffset != 1 || a[1].FirstOffset != 4) || !committed && a != nil {
				t.Errorf("version %d, committed %v: aborted %+v", version, committed, a)
			}
		}
	}
}

func TestItem38ReadersOfAnotherEpochAreToldWhereLogsPart(t *testing.T) {
	f := newFakes(t)
	node := &fixed{Storage: f.storage, result: storageclient.FetchResult{HighWatermark: 9, Diverging: &storageclient.EpochEnd{Epoch: 3, EndOffset: 6}}}
	f.nodes.Set(1, node)
	s := f.gateway(4)
	topic := f.topic("t", 1)
	for version := int16(11); version <= 18; version++ {
		req := fetchOf("t", 0, 8)
		req.Version, req.Topics[0].TopicID, req.MaxWaitMillis, req.MinBytes = version, topic.ID, 60_000, 1
		req.Topics[0].Partitions[0].LastFetchedEpoch = 4
		got := askAt[*kmsg.FetchResponse](t, s, req).Topics[0].Partitions[0]
		asked := node.last().Partitions[0].LastFetchedEpoch
		if version < 12 {
			if asked != nil {
				t.Errorf("version %d: epoch %d was asked", version, *asked)
			}
			continue
		}
		if asked == nil || *asked != 4 || got.ErrorCode != 0 || got.DivergingEpoch.Epoch != 3 || got.DivergingEpoch.EndOffset != 6 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}
