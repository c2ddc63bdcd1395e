package metadata

import (
	"time"

	"google.golang.org/grpc"

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
