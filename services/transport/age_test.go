package transport

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	"moldau.dev/services/clock"
)

// TestStreamsOfOldConnectionsEndBeforeTheyAreCut, and the next one comes by a new
// connection, wherever in its bounds grpc-go's jitter puts the age.
func TestStreamsOfOldConnectionsEndBeforeTheyAreCut(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			ends := 0
			s := NewServer(Options{Audience: External})
			s.RegisterService(&grpc.ServiceDesc{
				ServiceName: "test.Echo", HandlerType: (*any)(nil),
				Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
					at, ages := StreamsEnd(ss.Context())
					if !ages {
						t.Error("the connection does not age")
					}
					timer := clock.Real().NewTimer(at.Sub(clock.Real().Now()))
					defer timer.Stop()
					select {
					case <-timer.C():
						ends++
						return nil
					case <-ss.Context().Done():
						return ss.Context().Err()
					}
				}}},
			}, nil)
			lis := bufconn.Listen(1 << 20)
			served := make(chan error, 1)
			go func() { served <- s.Serve(Aged(lis, clock.Real())) }()
			dials := 0
			conn, err := Dial("passthrough:///test", DialOptions{Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
				dials++
				return lis.DialContext(ctx)
			}})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Stream")
				if err != nil {
					t.Fatal(err)
				}
				if err := stream.SendMsg(&anypb.Any{}); err != nil {
					t.Fatal(err)
				}
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if err := stream.RecvMsg(&anypb.Any{}); err == nil || err.Error() != "EOF" {
					t.Fatalf("stream %d: %v", i, err)
				}
			}
			if ends != 3 || dials < 3 {
				t.Errorf("%d streams ended by themselves, over %d connections", ends, dials)
			}
			_ = conn.Close()
			s.Stop()
			<-served
		})
	}
}
