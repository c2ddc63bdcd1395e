package metadata

import (
	"testing"

	"google.golang.org/grpc"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// images are states of one term, each after one change more.
func images(t *testing.T, changes ...cluster.Change) []*controller.Image {
	t.Helper()
	s := cluster.New("c")
	for id := range int32(2) {
		changes = append([]cluster.Change{
			cluster.RegisterNode{NodeID: id, Incarnation: "a", Address: "x:1"}, cluster.UnfenceNode{NodeID: id},
		}, changes...)
	}
	out := []*controller.Image{}
	for i, c := range changes {
		next, _, err := s.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		s = next
		out = append(out, &controller.Image{State: s, Epoch: 1, Revision: int64(i + 1), Lineage: &metadatav1.Lineage{Terms: []*metadatav1.Term{{Epoch: 1}}}})
	}
	return out[3:]
}

func TestFrameOfALeaderMoveCarriesThePartitionsAlone(t *testing.T) {
	i := images(t,
		cluster.CreateTopic{Name: "t", ID: topicid.ID{1}, Assignment: [][]int32{{0, 1}, {1, 0}, {0, 1}}},
		cluster.ShutDownNode{NodeID: 0},
	)
	f := frame(i[1], i[2])
	if len(f.Topics) != 0 || len(f.Partitions) != 3 || len(f.Nodes) != 1 {
		t.Errorf("got %v", f)
	}
	if p := f.Partitions[0]; p.Partition != 0 || p.State.Leader != 1 || p.TopicId[0] != 1 {
		t.Errorf("got %v", p)
	}
	if f := frame(i[0], i[2]); len(f.Topics) != 1 || len(f.Partitions) != 0 {
		t.Errorf("of a topic that is new: %v", f)
	}
	if f := frame(i[2], i[2]); len(f.Topics)+len(f.Partitions)+len(f.Nodes) != 0 || f.Settings != nil {
		t.Errorf("of nothing: %v", f)
	}
}

func TestFrameOfAGrownTopicCarriesItWhole(t *testing.T) {
	i := images(t,
		cluster.CreateTopic{Name: "t", ID: topicid.ID{1}, Assignment: [][]int32{{0}}},
		cluster.AddPartitions{Name: "t", Assignment: [][]int32{{1}}},
	)
	if f := frame(i[1], i[2]); len(f.Topics) != 1 || len(f.Topics[0].Partitions) != 2 || len(f.Partitions) != 0 {
		t.Errorf("got %v", f)
	}
}

// TestSlowWatcherHearsOfTheEndOfATopic though its tombstone is gone already.
func TestSlowWatcherHearsOfTheEndOfATopic(t *testing.T) {
	i := images(t,
		cluster.CreateTopic{Name: "t", ID: topicid.ID{1}, Assignment: [][]int32{{0}}},
		cluster.DeleteTopic{Name: "t"},
		cluster.ForgetTombstones{IDs: []topicid.ID{{1}}},
		cluster.CreateTopic{Name: "t", ID: topicid.ID{2}, Assignment: [][]int32{{0}}},
	)
	v := see(t, frame(nil, i[1]), frame(i[1], i[4]))
	if v.TopicsByID[topicid.ID{1}] != nil || v.Topics["t"].ID != (topicid.ID{2}) || len(v.Deleted) != 0 {
		t.Errorf("%+v", v)
	}
	if v := see(t, frame(nil, i[1]), frame(i[1], i[2])); len(v.Deleted) != 1 || len(v.Topics) != 0 {
		t.Errorf("of a deletion: %+v", v)
	}
	if v := see(t, frame(nil, i[2]), frame(i[2], i[3])); len(v.Deleted) != 0 {
		t.Errorf("of a burial: %+v", v)
	}
}

// see returns the view of a watcher that gets frames.
func see(t *testing.T, frames ...*metadatav1.WatchResponse) *metadataclient.View {
	t.Helper()
	s := &scripted{frames: frames}
	c := metadataclient.Local(s, metadataclient.Options{})
	defer c.Close() //nolint:errcheck // nothing to lose
	if err := c.WaitRevision(within(t), frames[len(frames)-1].Revision); err != nil {
		t.Fatal(err)
	}
	return c.View()
}

// scripted serves one list of frames to each watcher.
type scripted struct {
	metadatav1.UnimplementedMetadataServiceServer
	frames []*metadatav1.WatchResponse
}

func (s *scripted) Watch(_ *metadatav1.WatchRequest, stream grpc.ServerStreamingServer[metadatav1.WatchResponse]) error {
	for _, f := range s.frames {
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}
