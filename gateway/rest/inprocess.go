package rest

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"moldau.dev/gateway/native"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// inProcess is a ReadServiceClient and a ConsumeServiceClient without a
// connection: generated REST code streams only from a client.
type inProcess struct{ s *native.Server }

func (c inProcess) Fetch(ctx context.Context, req *moldauv1.FetchRequest, _ ...grpc.CallOption) (*moldauv1.FetchResponse, error) {
	return c.s.Fetch(ctx, req)
}

func (c inProcess) ListOffsets(ctx context.Context, req *moldauv1.ListOffsetsRequest, _ ...grpc.CallOption) (*moldauv1.ListOffsetsResponse, error) {
	return c.s.ListOffsets(ctx, req)
}

// Commit implements moldauv1.ConsumeServiceClient.
func (c inProcess) Commit(ctx context.Context, req *moldauv1.CommitRequest, _ ...grpc.CallOption) (*moldauv1.CommitResponse, error) {
	return c.s.Commit(ctx, req)
}

// Seek implements moldauv1.ConsumeServiceClient.
func (c inProcess) Seek(ctx context.Context, req *moldauv1.SeekRequest, _ ...grpc.CallOption) (*moldauv1.SeekResponse, error) {
	return c.s.Seek(ctx, req)
}

// Leave implements moldauv1.ConsumeServiceClient.
func (c inProcess) Leave(ctx context.Context, req *moldauv1.LeaveRequest, _ ...grpc.CallOption) (*moldauv1.LeaveResponse, error) {
	return c.s.Leave(ctx, req)
}

// Read starts the stream. The caller's context ends it.
func (c inProcess) Read(ctx context.Context, req *moldauv1.ReadRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[moldauv1.ReadResponse], error) {
	return startStream(ctx, func(send func(*moldauv1.ReadResponse) error) error { return c.s.Read(ctx, req, send, nil) }), nil
}

// Consume starts the stream. The caller's context ends it.
func (c inProcess) Consume(ctx context.Context, req *moldauv1.ConsumeRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[moldauv1.ConsumeResponse], error) {
	return startStream(ctx, func(send func(*moldauv1.ConsumeResponse) error) error { return c.s.Consume(ctx, req, send) }), nil
}

// stream hands frames over one by one, so that a client that does not read
// stops it.
type stream[F any] struct {
	ctx    context.Context
	frames chan *F
	first  *F
	ended  chan struct{}
	err    error // once ended is closed
}

func startStream[F any](ctx context.Context, serve func(send func(*F) error) error) *stream[F] {
	st := &stream[F]{ctx: ctx, frames: make(chan *F), ended: make(chan struct{})}
	go func() {
		defer close(st.ended)
		st.err = serve(st.send)
	}()
	return st
}

func (st *stream[F]) send(f *F) error {
	select {
	case st.frames <- f:
		return nil
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
}

// Header waits for the first frame: what fails before it can still be
// answered with a status of its own.
func (st *stream[F]) Header() (metadata.MD, error) {
	f, err := st.Recv()
	if err == io.EOF { //nolint:errorlint // Recv's own
		return nil, nil
	}
	st.first = f
	return nil, err
}

func (st *stream[F]) Recv() (*F, error) {
	if f := st.first; f != nil {
		st.first = nil
		return f, nil
	}
	select {
	case f := <-st.frames:
		return f, nil
	case <-st.ended:
		if st.err != nil {
			return nil, st.err
		}
		return nil, io.EOF
	}
}

func (st *stream[F]) Trailer() metadata.MD     { return nil }
func (st *stream[F]) CloseSend() error         { return nil }
func (st *stream[F]) Context() context.Context { return st.ctx }
func (st *stream[F]) SendMsg(any) error        { return nil }
func (st *stream[F]) RecvMsg(any) error        { return io.ErrUnexpectedEOF } // generated code uses Recv
