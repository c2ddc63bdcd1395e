package kafka

import (
	"net"
	"strconv"
	"time"

	"moldau.dev/metadata/metadataclient"
)

// limits are what of the settings this gateway acts on itself, at one view.
type limits struct {
	view        *metadataclient.View
	autoCreate  bool
	idle        time.Duration
	connections int
	perIP       int
}

// limits returns those of the present view.
func (s *Server) limits() *limits {
	view := s.meta.View()
	if l := s.limited.Load(); l != nil && l.view == view {
		return l
	}
	l := &limits{view: view}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(s.settingInForce(name), 10, 64) // what was not one was refused when it was set
		return n
	}
	l.autoCreate = s.settingInForce(autoCreateEnable) == "true"
	l.idle = time.Duration(min(number(maxIdleMs), int64(maxIdle/time.Millisecond))) * time.Millisecond
	l.connections, l.perIP = int(number(maxConnections)), int(number(maxPerIP))
	s.limited.Store(l)
	return l
}

// maxIdle is longer than any connection lives.
const maxIdle = 10 * 365 * 24 * time.Hour

// settingInForce is the value of a broker config of this gateway.
func (s *Server) settingInForce(name string) string {
	return s.layers(findBrokerConfig(name))[0].value
}

// full tells whether there is no room for one more connection from that
// address. s.mu is held.
func (s *Server) full(from net.Addr) bool {
	l := s.limits()
	return len(s.conns) >= l.connections || s.byIP[ipOf(from)] >= l.perIP || !s.book.Connect(s.quotas(), s.clk.Now(), ipOf(from))
}

func ipOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}
