package storageclient_test

import (
	"context"
	"net"
	"runtime"
	"testing"

	"google.golang.org/grpc"

	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

// breaking is a connection that breaks once it has brought so many bytes.
type breaking struct {
	net.Conn
	left   int
	broken chan struct{}
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if b.left > 0 && b.left <= n {
		_ = b.Close()
		close(b.broken)
	}
	b.left -= n
	return n, err
}

// lender answers fetches with lent bytes and says when it has them back.
type lender struct {
	storageclient.Storage
	back chan struct{}
}

func (l *lender) Fetch(context.Context, *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	return storageclient.NewFetchResponse([]storageclient.FetchResult{{Batches: make([]byte, 32<<20)}}, func() { close(l.back) }), nil
}

// TestAnswerToACallerThatIsGoneIsReleased breaks the connection while most of
// an answer waits for the caller to take it: the node must get its bytes back,
// or its budget for fetches would shrink with each lost gateway.
func TestAnswerToACallerThatIsGoneIsReleased(t *testing.T) {
	l := &lender{back: make(chan struct{})}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := transport.NewServer(transport.Options{})
	storageclient.Serve(server, l)
	go func() { _ = server.Serve(lis) }()
	defer server.Stop()

	broken := make(chan struct{})
	conn, err := transport.Dial(lis.Addr().String(), transport.DialOptions{Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return &breaking{Conn: c, left: 1 << 20, broken: broken}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, storagev1.StorageService_Fetch_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	topic := topicid.ID{1}
	if err := stream.SendMsg(&storagev1.FetchRequest{Partitions: []*storagev1.FetchPartition{{TopicId: topic[:]}}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	<-broken // in the middle of the answer
	for {
		runtime.GC() // what a broken connection leaves behind is garbage
		select {
		case <-l.back:
			return
		case <-t.Context().Done():
			t.Fatal("the answer was never released")
		default:
			runtime.Gosched()
		}
	}
}
