package main

import (
	"net"
	"net/netip"
	"testing"
)

func TestNodesAdvertiseWhereOthersReachThem(t *testing.T) {
	for _, c := range []struct{ advertise, listens, want string }{
		{"", "127.0.0.1:4711", "127.0.0.1:4711"},
		{"node-1.example:9192", "0.0.0.0:9192", "node-1.example:9192"},
		{"node-1.example:0", "[::]:4711", "node-1.example:4711"},
		{"[fe80::1]:0", "[::]:4711", "[fe80::1]:4711"},
		{"", "0.0.0.0:9192", ""},
		{"", "[::]:9192", ""},
		{"node-1.example", "0.0.0.0:9192", ""},
	} {
		got, err := advertised("storage_node.advertise", c.advertise, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.listens)))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("advertise %q of %s: %q, %v, want %q", c.advertise, c.listens, got, err, c.want)
		}
	}
}
