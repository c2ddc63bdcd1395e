package native_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/transport"
)

// overGRPC serves the gateway to clients whose connections age, until the
// returned function is called.
func (x *grouped) overGRPC() (*grpc.ClientConn, func()) {
	x.Helper()
	server := transport.NewServer(transport.Options{Audience: transport.External})
	x.RegisterGRPC(server)
	lis := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(transport.Aged(lis, clock.Real())) }()
	conn, err := transport.Dial("passthrough:///gateway", transport.DialOptions{Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		return lis.DialContext(ctx)
	}})
	if err != nil {
		x.Fatal(err)
	}
	return conn, func() {
		_ = conn.Close()
		server.Stop()
		<-served
	}
}

// TestStreamsOutliveTheirConnections: a stream that is open for longer than a
// connection may be is told to come again, and misses and doubles nothing.
func TestStreamsOutliveTheirConnections(t *testing.T) {
	inGroups(t, func(x *grouped) {
		conn, stop := x.overGRPC()
		defer stop()
		const records = 100 // one a minute
		produced := make(chan struct{})
		go func() {
			defer close(produced)
			for i := range records {
				x.produce(0, fmt.Sprint(i))
				time.Sleep(time.Minute)
			}
		}()
		reads, consumes := make(chan string), make(chan string)
		go func() { reads <- readLong(x, conn, records) }()
		go func() { consumes <- consumeLong(x, conn, records) }()
		for name, c := range map[string]chan string{"Read": reads, "Consume": consumes} {
			if got := <-c; got != "" {
				t.Errorf("%s: %s", name, got)
			}
		}
		<-produced
	})
}

// readLong returns what is wrong with n records that come one by one.
func readLong(x *grouped, conn *grpc.ClientConn, n int) string {
	req := &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}}
	seen, streams := 0, 0
	for req != nil {
		streams++
		stream, err := moldauv1.NewReadServiceClient(conn).Read(x.Context(), req)
		req = nil
		for err == nil {
			var f *moldauv1.ReadResponse
			if f, err = stream.Recv(); err != nil {
				break
			}
			for _, r := range f.GetRecords().GetRecords() {
				if string(r.GetValue()) != fmt.Sprint(seen) {
					return fmt.Sprintf("%q comes in place of %d", r.GetValue(), seen)
				}
				seen++
			}
			if r := f.GetReconnect(); r != nil {
				req = r.GetResume()
			}
			if seen == n {
				return few(streams)
			}
		}
		if !errors.Is(err, io.EOF) {
			return err.Error()
		}
	}
	return fmt.Sprintf("it ended after %d", seen)
}

func consumeLong(x *grouped, conn *grpc.ClientConn, n int) string {
	req := &moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}}
	seen, member := 0, ""
	for streams := 1; ; streams++ {
		stream, err := moldauv1.NewConsumeServiceClient(conn).Consume(x.Context(), req)
		for err == nil {
			var f *moldauv1.ConsumeResponse
			if f, err = stream.Recv(); err != nil {
				break
			}
			if j := f.GetJoined(); j != nil {
				if member != "" && (!j.GetResumed() || j.GetMember().GetMemberId() != member) {
					return "it is another member"
				}
				member = j.GetMember().GetMemberId()
			}
			for _, r := range f.GetRecords().GetRecords() {
				if string(r.GetValue()) != fmt.Sprint(seen) {
					return fmt.Sprintf("%q comes in place of %d", r.GetValue(), seen)
				}
				seen++
			}
			if r := f.GetReconnect(); r != nil {
				req.ResumeToken = r.GetResumeToken()
			}
			if seen == n {
				return few(streams)
			}
		}
		if !errors.Is(err, io.EOF) {
			return err.Error()
		}
	}
}

// few says what is wrong with the streams that 99 minutes took.
func few(streams int) string {
	if streams < 3 || streams > 4 {
		return fmt.Sprintf("%d streams", streams)
	}
	return ""
}
