// Package coordinatortest has coordinators for the tests of those who stand
// above them.
package coordinatortest

import (
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"

	"moldau.dev/coordinator/coordinatorclient"
)

// Unimplemented is a coordinatorclient.Client that answers UNIMPLEMENTED to
// all; a test embeds it and writes the calls that it needs.
type Unimplemented struct {
	coordinatorv1.UnimplementedCoordinatorServiceServer
}

var (
	_ coordinatorclient.Client = Unimplemented{}
	_ coordinatorclient.Peer   = Unimplemented{}
)

// Close implements coordinatorclient.Client.
func (Unimplemented) Close() error { return nil }
