package transport

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/peer"

	"moldau.dev/services/clock"
)

// A server tells the clients of a connection that has become old to open another
// one: at edgeConnectionAge, give or take a tenth, as grpc-go has it, so that
// the connections of an hour do not all end at once. What is open on it then
// has edgeConnectionAgeGrace to end. Streams that would go on end by themselves
// once the clients have surely been told, and well before they are cut.
//
//	27 min        30 min        33 min  33 min 30 s                        38 min
//	  ├─ told to go, somewhen here ─┤   streams end    cut, at 35 min at the earliest
const (
	edgeConnectionAge      = 30 * time.Minute
	edgeConnectionAgeGrace = 8 * time.Minute
	streamAge              = edgeConnectionAge + edgeConnectionAge/10 + 30*time.Second
)

// Aged returns a listener whose connections know when they were opened, for
// StreamsEnd.
func Aged(lis net.Listener, clk clock.Clock) net.Listener { return agedListener{lis, clk} }

type agedListener struct {
	net.Listener
	clk clock.Clock
}

func (l agedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return agedConn{conn, agedAddr{conn.RemoteAddr(), l.clk.Now()}}, nil
}

type agedConn struct {
	net.Conn
	addr agedAddr
}

func (c agedConn) RemoteAddr() net.Addr { return c.addr }

// agedAddr carries the time to where a handler can see it: its peer's address.
type agedAddr struct {
	net.Addr
	opened time.Time
}

// StreamsEnd tells when the streams on the connection that the call of ctx came
// by should end, so that they are not cut. Connections that do not age have no
// such time.
func StreamsEnd(ctx context.Context) (at time.Time, ages bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return time.Time{}, false
	}
	addr, ages := p.Addr.(agedAddr)
	return addr.opened.Add(streamAge), ages
}
