package transport

import (
	"encoding/binary"
	"errors"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"golang.org/x/time/rate"

	"moldau.dev/services/clock"
	"moldau.dev/services/telemetry"
)

// A caller who opens streams and resets them at once makes a server begin work
// that costs the caller nothing, within every limit on streams (CVE-2023-44487).
const (
	resetsPerSecond = 200
	resetsAtOnce    = 400
)

var errResets = errors.New("transport: the peer resets streams faster than any client has reason to")

// CutResets returns a listener whose connections are cut when their peer resets
// HTTP/2 streams at more than 200 a second. It reads frames as they are on the
// wire: in front of TLS it sees nothing. What is not HTTP/2 passes unseen.
func CutResets(lis net.Listener, clk clock.Clock, metrics prometheus.Registerer) net.Listener {
	cut := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: "rpc", Name: "connections_cut_total",
		Help: "Connections that were cut because their peer reset too many streams.",
	})
	if metrics != nil {
		cut = register(metrics, cut)
	}
	return &cuttingListener{Listener: lis, clk: clk, cut: cut}
}

type cuttingListener struct {
	net.Listener
	clk clock.Clock
	cut prometheus.Counter
}

func (l *cuttingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cuttingConn{Conn: conn, listener: l, resets: rate.NewLimiter(resetsPerSecond, resetsAtOnce)}, nil
}

// cuttingConn is one connection. One goroutine reads it, as of any connection.
type cuttingConn struct {
	net.Conn
	listener *cuttingListener
	resets   *rate.Limiter
	frames   frameScanner
}

func (c *cuttingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for range c.frames.resets(p[:n]) {
		if !c.resets.AllowN(c.listener.clk.Now(), 1) {
			c.listener.cut.Inc()
			return 0, errors.Join(errResets, c.Conn.Close())
		}
	}
	return n, err
}

// frameScanner follows the frames of a stream of bytes, however it is cut.
//
//	preface ─▶ head ◀─▶ payload
//	   └─▶ other: no HTTP/2, nothing is followed any more
type frameScanner struct {
	other   bool
	preface int     // bytes of it seen
	head    [9]byte // of the frame, so far
	have    int     // bytes of head
	skip    int     // bytes left of the payload
}

// resets returns how many RST_STREAM frames begin in p.
func (s *frameScanner) resets(p []byte) (n int) {
	for len(p) > 0 && !s.other {
		switch {
		case s.preface < len(http2.ClientPreface):
			if p[0] != http2.ClientPreface[s.preface] {
				s.other = true
				return n
			}
			s.preface, p = s.preface+1, p[1:]
		case s.skip > 0:
			skipped := min(s.skip, len(p))
			s.skip, p = s.skip-skipped, p[skipped:]
		default:
			took := copy(s.head[s.have:], p)
			s.have, p = s.have+took, p[took:]
			if s.have < len(s.head) {
				return n
			}
			s.have = 0
			s.skip = int(binary.BigEndian.Uint32(s.head[:4]) >> 8)
			if http2.FrameType(s.head[3]) == http2.FrameRSTStream {
				n++
			}
		}
	}
	return n
}
