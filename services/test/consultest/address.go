package consultest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// freeIP returns a loopback address on which nobody listens at Consul's ports.
// It stays reserved for this test by a port that Consul does not use.
func freeIP(t testing.TB) string {
	t.Helper()
	for range 100 {
		ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		reservation, err := net.Listen("tcp", net.JoinHostPort(ip, "8599"))
		if err != nil {
			continue
		}
		if !taken(ip) {
			t.Cleanup(func() { _ = reservation.Close() })
			return ip
		}
		_ = reservation.Close()
	}
	t.Fatal("no free loopback address")
	return ""
}

func taken(ip string) bool {
	for _, port := range []string{"8300", "8301", httpPort} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			return true
		}
		_ = l.Close()
	}
	return false
}
