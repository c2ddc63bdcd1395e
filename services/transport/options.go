// Package transport carries calls between processes: gRPC servers and
// connections with limits, keepalive, metrics and errors set one way, and the
// codec that moves record batches without copying them. The doors (*client)
// and the services' listeners stand on it; it stands on grpc-go.
//
// Invariant: handlers return and callers receive *errcode.Error; gRPC statuses
// exist only on the wire.
package transport

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// Audience says whom a listener or connection serves, which sets its windows.
type Audience int

const (
	// Internal is between services: few connections, large windows.
	Internal Audience = iota
	// External is towards clients: many connections, and memory is
	// connections × window.
	External
)

const (
	internalStreamWindow = 8 << 20
	internalConnWindow   = 16 << 20
	externalStreamWindow = 256 << 10
	externalConnWindow   = 1 << 20

	internalIOBuffer = 256 << 10
	externalIOBuffer = 32 << 10

	internalMaxStreams = 1024
	externalMaxStreams = 256

	maxHeaderBytes    = 16 << 10
	defaultMaxMessage = 4 << 20
	connectTimeout    = 5 * time.Second
	defaultDeadline   = 30 * time.Second
	longestDeadline   = 10 * time.Minute

	// HardStopAfter bounds GracefulStop.
	HardStopAfter = 10 * time.Second
)

// grpc-go raises a client's keepalive time to at least 10 s, so a dead peer is
// seen sooner by the server side's pings and by each stream's own heartbeat.
var clientKeepalive = keepalive.ClientParameters{
	Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true,
}

// A peer that was started anew is found again within a second; grpc-go's own
// patience grows to two minutes.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 2 * time.Second,
}

var keepalivePolicy = keepalive.EnforcementPolicy{
	MinTime: 3 * time.Second, PermitWithoutStream: true,
}

func serverKeepalive(a Audience) keepalive.ServerParameters {
	p := keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 3 * time.Second}
	if a == External { // replication streams must not be cut by age
		p.MaxConnectionAge = edgeConnectionAge
		p.MaxConnectionAgeGrace = edgeConnectionAgeGrace
	}
	return p
}

// MaxMessage returns the message limit for batches of up to maxBatchBytes.
func MaxMessage(maxBatchBytes int) int { return maxBatchBytes + 64<<10 }
