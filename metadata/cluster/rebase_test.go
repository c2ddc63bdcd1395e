package cluster

import (
	"math"
	"testing"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

func saved(leaderEpoch int32) *State {
	s := New("c")
	s.LastNodeEpoch, s.NextProducerID = 7, 3000
	s.Shards = []*metadatav1.ShardState{{Owner: 1, Epoch: 4}}
	id := topicid.ID{1}
	s.Topics["t"] = &metadatav1.TopicState{Name: "t", TopicId: id[:], Partitions: []*metadatav1.PartitionState{
		{Leader: 1, Replicas: []int32{1}, Isr: []int32{1}, LeaderEpoch: leaderEpoch, PartitionEpoch: 9},
	}}
	return s.Restore()
}

// TestRebaseRaisesAllThatMustNotGoBack (C11, invariants 7 and 16), and leaves
// the state as it was alone.
func TestRebaseRaisesAllThatMustNotGoBack(t *testing.T) {
	before := saved(5)
	after, d, err := before.Apply(Rebase{})
	if err != nil {
		t.Fatal(err)
	}
	p := after.Topics["t"].Partitions[0]
	if p.LeaderEpoch != 5+RebaseStep || p.PartitionEpoch != 9+RebaseStep || p.Leader != 1 ||
		after.LastNodeEpoch != 7+RebaseStep || after.NextProducerID != 3000+rebaseIDs || after.Shards[0].Epoch != 4+RebaseStep {
		t.Errorf("after: %v, node epoch %d, producer id %d, shards %v", p, after.LastNodeEpoch, after.NextProducerID, after.Shards)
	}
	if before.Topics["t"].Partitions[0].LeaderEpoch != 5 || before.Shards[0].Epoch != 4 {
		t.Error("the state before was changed")
	}
	if len(d.Topics) != 1 || !d.NodeEpochs || !d.ProducerIDs || !d.Shards {
		t.Errorf("delta %+v", d)
	}
}

func TestEpochsThatCannotBeRaisedAreRefused(t *testing.T) {
	if _, _, err := saved(math.MaxInt32 - 1).Apply(Rebase{}); !errcode.Is(err, errcode.ResourceExhausted) {
		t.Errorf("got %v", err)
	}
}
