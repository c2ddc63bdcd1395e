package rest

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"moldau.dev/gateway/native"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// inProcess is a ReadServiceClient without a connection: generated REST code
// streams only from a client.
type inProcess struct{ s *native.Server }

func (c inProcess) Fetch(ctx context.Context, req *moldauv1.FetchRequest, _ ...grpc.CallOption) (*moldauv1.FetchResponse, error) {
	return c.s.Fetch(ctx, req)
}

func (c inProcess) ListOffsets(ctx context.Context, req *moldauv1.ListOffsetsRequest, _ ...grpc.CallOption) (*moldauv1.ListOffsetsResponse, error) {
	return c.s.ListOffsets(ctx, req)
}

// Read starts the stream. The caller's context ends it.
func (c inProcess) Read(ctx context.Context, req *moldauv1.ReadRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[moldauv1.ReadResponse], error) {
	st := &readStream{ctx: ctx, frames: make(chan *moldauv1.ReadResponse), ended: make(chan struct{})}
	go func() {
		defer close(st.ended)
		st.err = c.s.Read(ctx, req, st.send)
	}()
	return st, nil
}

// readStream hands frames over one by one, so that a client that does not read
// stops the stream.
type readStream struct {
	ctx    context.Context
	frames chan *moldauv1.ReadResponse
	first  *moldauv1.ReadResponse
	ended  chan struct{}
	err    error // once ended is closed
}

func (st *readStream) send(f *moldauv1.ReadResponse) error {
	select {
	case st.frames <- f:
		return nil
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
}

// Header waits for the first frame: what fails before it can still be
// answered with a status of its own.
func (st *readStream) Header() (metadata.MD, error) {
	f, err := st.Recv()
	if err == io.EOF { //nolint:errorlint // Recv's own
		return nil, nil
	}
	st.first = f
	return nil, err
}

func (st *readStream) Recv() (*moldauv1.ReadResponse, error) {
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

func (st *readStream) Trailer() metadata.MD     { return nil }
func (st *readStream) CloseSend() error         { return nil }
func (st *readStream) Context() context.Context { return st.ctx }
func (st *readStream) SendMsg(any) error        { return nil }
func (st *readStream) RecvMsg(any) error        { return io.ErrUnexpectedEOF } // generated code uses Recv
