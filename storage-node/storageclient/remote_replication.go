package storageclient

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// replicateStream describes Replicate for either end: a stream whose answers are
// frames.
var replicateStream = grpc.StreamDesc{StreamName: "Replicate", Handler: serveReplicate, ClientStreams: true, ServerStreams: true}

// replicateFrom opens a stream to the node at an address, over a connection of its
// own: bulk of others is not in its way.
func replicateFrom(ctx context.Context, address string, opts transport.DialOptions) (FollowerStream, error) {
	conn, err := transport.Dial(address, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := conn.NewStream(ctx, &replicateStream, storagev1.StorageService_Replicate_FullMethodName)
	if err != nil {
		cancel()
		return nil, errors.Join(err, conn.Close())
	}
	return &remoteFollower{stream: stream, cancel: cancel, conn: conn}, nil
}

type remoteFollower struct {
	stream grpc.ClientStream
	cancel context.CancelFunc
	conn   *grpc.ClientConn
}

func (s *remoteFollower) Send(w *FollowerWords) error { return s.stream.SendMsg(wordsToWire(w)) }

func (s *remoteFollower) Recv() (*LeaderFrame, error) {
	head := new(storagev1.ReplicateResponse)
	frame := transport.NewFrame(head, bodyField)
	err := s.stream.RecvMsg(frame)
	if err == nil {
		var f *LeaderFrame
		if f, err = frameFromWire(head, frame.Bytes(), frame.Free); err == nil {
			return f, nil
		}
	}
	frame.Free()
	return nil, err
}

func (s *remoteFollower) Close() {
	s.cancel()
	_ = s.conn.Close() // it has no other use
}

func serveReplicate(srv any, stream grpc.ServerStream) error {
	peers, ok := srv.(*server).storage.(Replicator)
	if !ok {
		return errcode.New(errcode.Unimplemented, "the node does not replicate")
	}
	return peers.ServeReplica(remoteLeader{stream})
}

type remoteLeader struct{ stream grpc.ServerStream }

func (s remoteLeader) Context() context.Context { return s.stream.Context() }

func (s remoteLeader) Recv() (*FollowerWords, error) {
	in := new(storagev1.ReplicateRequest)
	if err := s.stream.RecvMsg(in); err != nil {
		if err == io.EOF {
			return nil, errcode.New(errcode.Canceled, "the follower has hung up")
		}
		return nil, err
	}
	return wordsFromWire(in)
}

func (s remoteLeader) Send(f *LeaderFrame) error {
	var body mem.BufferSlice
	owner := &sharedFrame{f}
	for i := range f.Data {
		if b := f.Data[i].Batches; len(b) > 0 {
			body = append(body, shareBytes(b, owner))
		}
	}
	frame := transport.NewFrameOf(frameToWire(f), bodyField, body)
	defer f.Release()
	defer frame.Free()
	return s.stream.SendMsg(frame)
}

// sharedFrame is a mem.BufferPool only to hear when a buffer is let go.
type sharedFrame struct{ frame *LeaderFrame }

func (o *sharedFrame) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

func (o *sharedFrame) Put(*[]byte) { o.frame.Release() }

// shareBytes makes b a buffer that releases the frame once it was sent.
func shareBytes(b []byte, owner *sharedFrame) mem.Buffer {
	if mem.IsBelowBufferPoolingThreshold(cap(b)) {
		return mem.SliceBuffer(append([]byte(nil), b...)) // grpc counts no references to so few
	}
	owner.frame.Retain()
	return mem.NewBuffer(&b, owner)
}
