package metadata

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// watchBeat is how often a watcher gets a frame where nothing changes, so that
// it can tell a quiet controller from one that hangs (G2).
const watchBeat = time.Second

// Watch implements MetadataService. Nothing is queued for a watcher: each frame
// is the difference between the image that it has and the newest one, so a slow
// watcher gets few large frames and a fast one many small ones.
func (s *Service) Watch(req *metadatav1.WatchRequest, stream grpc.ServerStreamingServer[metadatav1.WatchResponse]) error {
	s.log.Info("watch begins", "watcher", req.GetWatcher(), "gateway_id", req.GetGatewayId())
	if id := req.GetGatewayId(); id != "" && s.Ready() {
		s.controller.Gateways.Beat(id, 0)
	}
	if err := s.controller.CheckSeen(stream.Context(), req.GetSeen()); err != nil {
		return err
	}
	beat := s.clk.NewTimer(watchBeat)
	defer beat.Stop()
	var last *controller.Image
	for {
		changed := s.controller.Changed()
		image := s.controller.Image()
		if image == nil {
			return s.controller.NotLeading()
		}
		if image != last {
			if err := stream.Send(frame(last, image)); err != nil {
				return err
			}
			last = image
		}
		select {
		case <-changed:
		case <-beat.C():
			if err := stream.Send(&metadatav1.WatchResponse{Revision: last.Revision}); err != nil {
				return err
			}
			beat.Reset(watchBeat)
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.stopping:
			return errcode.New(errcode.ShuttingDown, "this metadata process is stopping")
		}
	}
}

// frame returns what leads from old to next: a snapshot where old is nil or of
// another term.
func frame(old, next *controller.Image) *metadatav1.WatchResponse {
	f := &metadatav1.WatchResponse{Revision: next.Revision}
	if old == nil || old.Epoch != next.Epoch {
		f.Snapshot = &metadatav1.ClusterState{
			ClusterId: next.State.ClusterID, Revision: next.Revision, ControllerEpoch: next.Epoch,
			Generation: next.Lineage.GetGeneration(), TermId: next.Position().GetTermId(),
			Topics: topics(nil, next.State), Nodes: nodes(nil, next.State),
		}
		f.Tombstones = tombstones(nil, next.State)
		return f
	}
	f.Topics = topics(old.State, next.State)
	f.Nodes = nodes(old.State, next.State)
	f.Tombstones = tombstones(old.State, next.State)
	return f
}

// topics returns those of next that are not the very same in old, by name.
func topics(old, next *cluster.State) (out []*metadatav1.TopicState) {
	for name, t := range next.Topics {
		if old == nil || old.Topics[name] != t {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *metadatav1.TopicState) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return out
}

func nodes(old, next *cluster.State) (out []*metadatav1.NodeState) {
	for _, id := range slices.Sorted(maps.Keys(next.Nodes)) {
		if n := next.Nodes[id]; old == nil || old.Nodes[id] != n {
			out = append(out, n)
		}
	}
	return out
}

func tombstones(old, next *cluster.State) (out []*metadatav1.Tombstone) {
	for id, g := range next.Tombstones {
		if old == nil || old.Tombstones[id] != g {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *metadatav1.Tombstone) int { return bytes.Compare(a.TopicId, b.TopicId) })
	return out
}
