package metadataclient

import (
	"cmp"
	"context"
	"io"

	"google.golang.org/grpc"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// local is the generated client's interface over a server of this process.
// Messages are handed over, not copied: neither side changes them.
type local struct {
	server metadatav1.MetadataServiceServer
}

func (l local) RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest, _ ...grpc.CallOption) (*metadatav1.RegisterNodeResponse, error) {
	return l.server.RegisterNode(ctx, req)
}

func (l local) Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest, _ ...grpc.CallOption) (*metadatav1.HeartbeatResponse, error) {
	return l.server.Heartbeat(ctx, req)
}

func (l local) CreateTopic(ctx context.Context, req *metadatav1.CreateTopicRequest, _ ...grpc.CallOption) (*metadatav1.CreateTopicResponse, error) {
	return l.server.CreateTopic(ctx, req)
}

func (l local) AlterTopic(ctx context.Context, req *metadatav1.AlterTopicRequest, _ ...grpc.CallOption) (*metadatav1.AlterTopicResponse, error) {
	return l.server.AlterTopic(ctx, req)
}

func (l local) AddPartitions(ctx context.Context, req *metadatav1.AddPartitionsRequest, _ ...grpc.CallOption) (*metadatav1.AddPartitionsResponse, error) {
	return l.server.AddPartitions(ctx, req)
}

func (l local) DeleteTopic(ctx context.Context, req *metadatav1.DeleteTopicRequest, _ ...grpc.CallOption) (*metadatav1.DeleteTopicResponse, error) {
	return l.server.DeleteTopic(ctx, req)
}

func (l local) AllocateProducerIds(ctx context.Context, req *metadatav1.AllocateProducerIdsRequest, _ ...grpc.CallOption) (*metadatav1.AllocateProducerIdsResponse, error) {
	return l.server.AllocateProducerIds(ctx, req)
}

func (l local) AlterPartitions(ctx context.Context, req *metadatav1.AlterPartitionsRequest, _ ...grpc.CallOption) (*metadatav1.AlterPartitionsResponse, error) {
	return l.server.AlterPartitions(ctx, req)
}

func (l local) ReportReplicas(ctx context.Context, req *metadatav1.ReportReplicasRequest, _ ...grpc.CallOption) (*metadatav1.ReportReplicasResponse, error) {
	return l.server.ReportReplicas(ctx, req)
}

func (l local) ElectLeaders(ctx context.Context, req *metadatav1.ElectLeadersRequest, _ ...grpc.CallOption) (*metadatav1.ElectLeadersResponse, error) {
	return l.server.ElectLeaders(ctx, req)
}

func (l local) AlterReassignments(ctx context.Context, req *metadatav1.AlterReassignmentsRequest, _ ...grpc.CallOption) (*metadatav1.AlterReassignmentsResponse, error) {
	return l.server.AlterReassignments(ctx, req)
}

func (l local) DrainNode(ctx context.Context, req *metadatav1.DrainNodeRequest, _ ...grpc.CallOption) (*metadatav1.DrainNodeResponse, error) {
	return l.server.DrainNode(ctx, req)
}

func (l local) RemoveNode(ctx context.Context, req *metadatav1.RemoveNodeRequest, _ ...grpc.CallOption) (*metadatav1.RemoveNodeResponse, error) {
	return l.server.RemoveNode(ctx, req)
}

func (l local) Rebalance(ctx context.Context, req *metadatav1.RebalanceRequest, _ ...grpc.CallOption) (*metadatav1.RebalanceResponse, error) {
	return l.server.Rebalance(ctx, req)
}

func (l local) AlterClusterConfigs(ctx context.Context, req *metadatav1.AlterClusterConfigsRequest, _ ...grpc.CallOption) (*metadatav1.AlterClusterConfigsResponse, error) {
	return l.server.AlterClusterConfigs(ctx, req)
}

func (l local) UpdateFeatures(ctx context.Context, req *metadatav1.UpdateFeaturesRequest, _ ...grpc.CallOption) (*metadatav1.UpdateFeaturesResponse, error) {
	return l.server.UpdateFeatures(ctx, req)
}

func (l local) Ping(ctx context.Context, req *metadatav1.PingRequest, _ ...grpc.CallOption) (*metadatav1.PingResponse, error) {
	return l.server.Ping(ctx, req)
}

// Watch runs the server's handler in a goroutine that ends with ctx.
func (l local) Watch(ctx context.Context, req *metadatav1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[metadatav1.WatchResponse], error) {
	p := &pipe{ctx: ctx, frames: make(chan *metadatav1.WatchResponse), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmp.Or(l.server.Watch(req, serverEnd{pipe: p}), io.EOF)
	}()
	return clientEnd{pipe: p}, nil
}

// pipe is a stream without a wire.
type pipe struct {
	ctx    context.Context
	frames chan *metadatav1.WatchResponse
	done   chan struct{}
	err    error // of the handler; set before done is closed
}

type serverEnd struct {
	grpc.ServerStream // never called: handlers use Send and Context alone
	*pipe
}

func (s serverEnd) Context() context.Context { return s.ctx }

func (s serverEnd) Send(f *metadatav1.WatchResponse) error {
	select {
	case s.frames <- f:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

type clientEnd struct {
	grpc.ClientStream // never called: watch uses Recv alone
	*pipe
}

// Recv waits for the handler's end even when ctx is done, so that nothing runs
// on after Close.
func (c clientEnd) Recv() (*metadatav1.WatchResponse, error) {
	select {
	case f := <-c.frames:
		return f, nil
	case <-c.done:
		return nil, c.err
	}
}
