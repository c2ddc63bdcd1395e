package storagenode

import (
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// TestNewLeaderThatDoesNotKnowWhatIsCommittedSaysSo: what lies after its high
// watermark may have been shown by a former leader, so it is neither out of range
// nor the end (R8, KIP-207).
func TestNewLeaderThatDoesNotKnowWhatIsCommittedSaysSo(t *testing.T) {
	c, topic := three(t, 2)
	c.kill(2)
	c.kill(3)
	s, id := c.nodes[1].service, pid(topic, 0)
	for range 2 {
		if r := appendTo(t, s, id, batch(t, 1, "not committed"), storageclient.AcksLeader); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	c.meta.mu.Lock()
	c.meta.edit(func(v *metadataclient.View) { c.meta.renew(v, topic, 0) })
	epoch := c.meta.view.TopicsByID[topic].Partitions[0].LeaderEpoch
	c.meta.mu.Unlock()
	for s.known(id).role.Load().leaderEpoch < epoch {
		if _, err := s.known(id).open(); err != nil {
			t.Fatal(err)
		}
	}
	for _, offset := range []int64{6, 7, 99} {
		if r := fetchFrom(t, s, id, offset); !errcode.Is(r.Err, errcode.OffsetNotAvailable) {
			t.Errorf("at %d: %v", offset, r.Err)
		}
	}
	if r := fetchFrom(t, s, id, 0); r.Err != nil || len(values(t, r.Batches)) != 5 {
		t.Errorf("what is known to be committed: %+v", r)
	}
	if r := fetchFrom(t, s, id, 5); r.Err != nil || len(r.Batches) > 0 {
		t.Errorf("at the high watermark: %+v", r)
	}
	c.start(2, 3)
	c.produce(topic, 5, "after")
	if r := fetchFrom(t, s, id, 5); r.Err != nil || len(values(t, r.Batches)) != 3 {
		t.Errorf("once it knows: %+v", r)
	}
	if r := fetchFrom(t, s, id, 99); !errcode.Is(r.Err, errcode.OffsetOutOfRange) {
		t.Errorf("once it knows, at 99: %v", r.Err)
	}
}
