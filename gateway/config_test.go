package gateway_test

import (
	"strings"
	"testing"

	"moldau.dev/gateway"
)

func TestConfigNamesEveryFault(t *testing.T) {
	if err := gateway.DefaultConfig().Validate(); err != nil {
		t.Fatalf("the default: %v", err)
	}
	bad := gateway.Config{GRPCListen: "nowhere", AllowedOrigins: []string{"https://*.*"}, HeartbeatInterval: 1 << 40}
	err := bad.Validate()
	for _, name := range []string{
		"grpc_listen", "http_listen", "allowed_origins", "heartbeat_interval", "call_timeout", "max_request_bytes",
		"stream_in_flight_bytes", "max_stream_partitions",
	} {
		if err == nil || !strings.Contains(err.Error(), "gateway config: "+name+":") {
			t.Errorf("%s is not named in %v", name, err)
		}
	}
}
