package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"moldau.dev/services/errcode"
)

// TestAnAnswerIsSentOnceItHasLeft: whatever a handler hung on its answer is
// held while the caller takes nothing, and let go once the caller has it all.
func TestAnAnswerIsSentOnceItHasLeft(t *testing.T) {
	answered, sent := make(chan struct{}), make(chan struct{})
	body := bytes.Repeat([]byte{7}, 100<<10)
	c := callByHand(t, 0, func(ctx context.Context, _ *Frame) (*Frame, error) {
		OnSent(ctx, func() { close(sent) })
		close(answered)
		return NewFrame(&anypb.Any{}, anyValue, body), nil
	})
	<-answered
	c.ping() // all that the server had to say before is said
	select {
	case <-sent:
		t.Fatal("nobody took the answer, and it counts as sent")
	default:
	}
	c.window(1 << 20)
	for got := 0; got < len(body); {
		got += c.data()
	}
	<-sent
}

// TestAnAnswerThatNobodyWillTakeIsLetGo: the caller hangs up.
func TestAnAnswerThatNobodyWillTakeIsLetGo(t *testing.T) {
	var sent atomic.Bool
	answered := make(chan struct{})
	c := callByHand(t, 0, func(ctx context.Context, _ *Frame) (*Frame, error) {
		OnSent(ctx, func() { sent.Store(true) })
		close(answered)
		return NewFrame(&anypb.Any{}, anyValue, make([]byte, 100<<10)), nil
	})
	<-answered
	c.ping()
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	for !sent.Load() {
		runtime.GC()
	}
}

// TestWithoutAnAnswerNothingIsHeld: a handler that fails, and a call that
// nobody watches.
func TestWithoutAnAnswerNothingIsHeld(t *testing.T) {
	sent := 0
	conn, _ := start(t, Options{}, func(ctx context.Context, _ *Frame) (*Frame, error) {
		OnSent(ctx, func() { sent++ })
		return nil, errcode.New(errcode.InvalidArgument, "no")
	})
	if _, err := call(t, conn, nil); !errcode.Is(err, errcode.InvalidArgument) {
		t.Fatal(err)
	}
	OnSent(t.Context(), func() { sent++ })
	if sent != 2 {
		t.Errorf("%d of 2 are let go", sent)
	}
}

// handCall is one call whose frames the test sends and reads itself.
type handCall struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
}

// callByHand calls h on a server, with so much window for the answer.
func callByHand(t *testing.T, window uint32, h handler) *handCall {
	t.Helper()
	s := NewServer(Options{Log: slog.New(slog.DiscardHandler)})
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: unary(h)}},
	}, nil)
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		<-served
	})
	c := &handCall{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	_, err = io.WriteString(conn, http2.ClientPreface)
	c.must(err)
	c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", echoMethod}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		c.must(enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	c.must(c.framer.WriteData(1, true, binary.BigEndian.AppendUint32([]byte{0}, 0)))
	return c
}

func (c *handCall) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// ping returns once the server has answered it.
func (c *handCall) ping() {
	c.t.Helper()
	c.must(c.framer.WritePing(false, [8]byte{1}))
	for {
		f, err := c.framer.ReadFrame()
		c.must(err)
		if p, ok := f.(*http2.PingFrame); ok && p.IsAck() {
			return
		}
	}
}

// window lets the server send n more bytes.
func (c *handCall) window(n uint32) {
	c.t.Helper()
	c.must(c.framer.WriteWindowUpdate(0, n))
	c.must(c.framer.WriteWindowUpdate(1, n))
}

// data reads the next piece of the answer.
func (c *handCall) data() int {
	c.t.Helper()
	for {
		f, err := c.framer.ReadFrame()
		c.must(err)
		if d, ok := f.(*http2.DataFrame); ok {
			return len(d.Data())
		}
	}
}
