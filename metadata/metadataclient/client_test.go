package metadataclient

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func topic(name string, id byte, partitions int) *metadatav1.TopicState {
	t := &metadatav1.TopicState{Name: name, TopicId: append([]byte{id}, make([]byte, 15)...), Version: 1}
	for range partitions {
		t.Partitions = append(t.Partitions, &metadatav1.PartitionState{Replicas: []int32{1}, Isr: []int32{1}, Leader: 1})
	}
	return t
}

func snapshot(revision int64, topics ...*metadatav1.TopicState) *metadatav1.WatchResponse {
	return &metadatav1.WatchResponse{Revision: revision, Snapshot: &metadatav1.ClusterState{ClusterId: "c", Topics: topics}}
}

func TestUnchangedTopicsAreShared(t *testing.T) {
	v, err := emptyView().next(snapshot(1, topic("a", 1, 3), topic("b", 2, 3)))
	if err != nil {
		t.Fatal(err)
	}
	next, err := v.next(&metadatav1.WatchResponse{Revision: 2, Topics: []*metadatav1.TopicState{topic("b", 2, 4)}})
	if err != nil {
		t.Fatal(err)
	}
	if next.Topics["a"] != v.Topics["a"] || len(next.Topics["b"].Partitions) != 4 || len(v.Topics["b"].Partitions) != 3 {
		t.Errorf("old %+v, new %+v", v.Topics["b"], next.Topics["b"])
	}
}

func TestRecreatedTopicReplacesTheDead(t *testing.T) {
	v, _ := emptyView().next(snapshot(1, topic("a", 1, 1)))
	v, err := v.next(&metadatav1.WatchResponse{
		Revision:   2,
		Topics:     []*metadatav1.TopicState{topic("a", 2, 1)},
		Tombstones: []*metadatav1.Tombstone{{TopicId: topic("a", 1, 0).TopicId, Name: "a"}},
	})
	if err != nil || v.Topics["a"].ID != (topicid.ID{2}) || len(v.TopicsByID) != 1 || v.Deleted[topicid.ID{1}] != "a" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	v, _ := emptyView().next(snapshot(5))
	stranger := snapshot(6)
	stranger.Snapshot.ClusterId = "other"
	for name, f := range map[string]*metadatav1.WatchResponse{
		"lower revision": snapshot(4), "another cluster": stranger, "bad topic id": snapshot(6, &metadatav1.TopicState{Name: "x"}),
	} {
		if _, err := v.next(f); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	if _, err := emptyView().next(&metadatav1.WatchResponse{Revision: 1}); err == nil {
		t.Error("a change without a snapshot passed")
	}
}

// script serves one list of frames per watch, then breaks the stream; at a nil
// frame it hangs, and after the last list it stays open.
type script struct {
	metadatav1.UnimplementedMetadataServiceServer

	mu      sync.Mutex
	watches [][]*metadatav1.WatchResponse
}

func (s *script) Watch(_ *metadatav1.WatchRequest, stream grpc.ServerStreamingServer[metadatav1.WatchResponse]) error {
	s.mu.Lock()
	frames := s.watches[0]
	last := len(s.watches) == 1
	if !last {
		s.watches = s.watches[1:]
	}
	s.mu.Unlock()
	for _, f := range frames {
		if f == nil {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	if last {
		<-stream.Context().Done()
	}
	return errors.New("broken stream")
}

func TestBrokenWatchResumesWithTheWholeState(t *testing.T) {
	s := &script{watches: [][]*metadatav1.WatchResponse{
		{snapshot(1, topic("a", 1, 1))},
		{},
		{snapshot(0, topic("stale", 9, 1))}, // a controller that was deposed
		{snapshot(7, topic("b", 2, 1)), {Revision: 8, Topics: []*metadatav1.TopicState{topic("c", 3, 1)}}},
	}}
	c := Local(s, Options{})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, 8); err != nil {
		t.Fatal(err)
	}
	v := c.View()
	if len(v.Topics) != 2 || v.Topics["b"] == nil || v.Topics["c"] == nil {
		t.Errorf("got %v", v.Topics)
	}
}

func TestCloseKeepsTheLastView(t *testing.T) {
	c := Local(&script{watches: [][]*metadatav1.WatchResponse{{snapshot(3)}}}, Options{GatewayID: "g"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	if err := c.WaitRevision(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil || c.View().Revision != 3 {
		t.Errorf("revision %d, %v", c.View().Revision, err)
	}
	cancel()
	if err := c.WaitRevision(ctx, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
