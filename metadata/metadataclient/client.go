package metadataclient

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
)

// Options shape a Client. The zero value works.
type Options struct {
	Clock clock.Clock  // default: the real one
	Log   *slog.Logger // default: discards
	// Watcher names this process in the controller's log.
	Watcher string
	// GatewayID, where set, makes the client beat as that gateway and
	// acknowledge the revision that View has reached, so that answers to admin
	// calls wait for it.
	GatewayID string
	// HeartbeatInterval is how often a gateway beats; default 500 ms.
	HeartbeatInterval time.Duration
	// DialOptions are passed to grpc.NewClient by Dial; default: no TLS.
	DialOptions []grpc.DialOption
}

// Dial returns a Client of the metadata service at a gRPC target. It does not
// wait for a connection: View is empty until the first state arrived.
func Dial(_ context.Context, target string, opts Options) (Client, error) {
	return nil, errors.New("not yet")
}

// Local returns a Client that calls a service of this process directly, with
// no encoding in between.
func Local(service metadatav1.MetadataServiceServer, opts Options) Client {
	return nil
}
